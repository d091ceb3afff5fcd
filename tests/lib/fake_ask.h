/*
 * ask.h in the place of relayd's: a program that is linked with fake_ask.c asks a store
 * in memory, which is given to ask_init() as the dispatch.
 */
#ifndef TESTS_FAKE_ASK_H
#define TESTS_FAKE_ASK_H

#include "ask.h"
#include "lib/fake_store.h"

#endif
