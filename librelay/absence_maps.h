/*
 * What is known not to exist, in the maps that the kernel's program reads (cache_maps.h).
 */
#ifndef RELAY_ABSENCE_MAPS_H
#define RELAY_ABSENCE_MAPS_H

#include "absence.h"
#include "cache_maps.h"

/* Its store is a const struct cache_maps *, which outlives the rules. */
extern const struct absence_store relay_absence_maps;

#endif
