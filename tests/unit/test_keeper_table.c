/* What a keeper holds, and what it is told (relayd/keeper_table.h). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keeper_table.h"

static struct keeper_table table;

static int parse(const char *text, struct keeper_message *message)
{
	return keeper_message_parse(text, strlen(text), message);
}

Test(keeper_table, holds_one_descriptor_a_name)
{
	int old;

	keeper_table_init(&table);
	cr_assert_eq(keeper_table_put(&table, "1.fuse", 7, &old), 0);
	cr_expect_eq(old, -1);
	cr_assert_eq(keeper_table_put(&table, "1.journal", 8, &old), 0);
	cr_assert_eq(keeper_table_put(&table, "1.fuse", 9, &old), 0);
	cr_expect_eq(old, 7, "the one that it replaces is told");
	cr_expect_eq(table.count, 2);
	cr_expect(keeper_table_good(&table, sizeof(table)));
	cr_expect_eq(keeper_table_drop(&table, "1.fuse"), 9);
	cr_expect_eq(keeper_table_drop(&table, "1.fuse"), -1);
	cr_expect_eq(keeper_table_drop(&table, "1.journal"), 8);
	cr_expect_eq(table.count, 0);
}

Test(keeper_table, is_full_some_time)
{
	char name[KEEPER_NAME_SIZE];
	int old;

	keeper_table_init(&table);
	for (unsigned i = 0; i < KEEPER_FDS_MAX; i++) {
		snprintf(name, sizeof(name), "1.k%x.1", i);
		cr_assert_eq(keeper_table_put(&table, name, (int)i, &old), 0);
	}
	cr_expect_eq(keeper_table_put(&table, "1.more", 5, &old), -ENOSPC);
	cr_expect_eq(keeper_table_put(&table, "1.k7.1", 5, &old), 0, "a name that is there needs no room");
	cr_expect_eq(old, 7);
}

Test(keeper_table, that_cannot_be_true_is_refused)
{
	int old;

	keeper_table_init(&table);
	cr_assert_eq(keeper_table_put(&table, "1.fuse", 7, &old), 0);
	cr_expect_not(keeper_table_good(&table, sizeof(table) - 1));
	table.count = KEEPER_FDS_MAX + 1;
	cr_expect_not(keeper_table_good(&table, sizeof(table)));
	table.count = 1;
	table.entry[0].fd = -1;
	cr_expect_not(keeper_table_good(&table, sizeof(table)));
	table.entry[0].fd = 1;
	memset(table.entry[0].name, 'x', KEEPER_NAME_SIZE);
	cr_expect_not(keeper_table_good(&table, sizeof(table)), "a name without an end");
	table.entry[0].name[3] = '\0';
	table.version++;
	cr_expect_not(keeper_table_good(&table, sizeof(table)));
}

Test(keeper_message, is_what_a_service_manager_is_told)
{
	struct keeper_message message;

	cr_assert_eq(parse("FDSTORE=1\nFDNAME=1.fuse\nFDPOLL=0", &message), 0);
	cr_expect(message.store && !message.remove && !message.ready);
	cr_expect_str_eq(message.name, "1.fuse");
	cr_assert_eq(parse("FDSTOREREMOVE=1\nFDNAME=1.fuse\n", &message), 0);
	cr_expect(message.remove && !message.store);
	cr_assert_eq(parse("STATUS=what we do not know\nREADY=1", &message), 0);
	cr_expect(message.ready);
	cr_assert_eq(parse("", &message), 0);
	cr_assert_eq(parse("X_RELAYD_RESTART=1", &message), 0);
	cr_expect(message.restart);
}

Test(keeper_message, without_a_name_that_can_be_is_refused)
{
	struct keeper_message message;
	char text[200];

	cr_expect_eq(parse("FDSTORE=1", &message), -EPROTO);
	cr_expect_eq(parse("FDSTOREREMOVE=1\nFDNAME=", &message), -EPROTO);
	cr_expect_eq(parse("FDSTORE=1\nFDSTOREREMOVE=1\nFDNAME=a", &message), -EPROTO);
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%.*s", (int)KEEPER_NAME_SIZE,
		 "0123456789012345678901234567890123456789012345678901234567890");
	cr_expect_eq(parse(text, &message), -EPROTO);
	cr_expect_eq(keeper_message_parse("FDSTORE=1\nFDNAME=a\0b", 20, &message), -EPROTO);
}

Test(keeper_worker, is_told_by_its_environment)
{
	struct keeper_worker worker;

	cr_assert_eq(keeper_worker_of("4:5:-1:0:/run/a:b", &worker), 0);
	cr_expect_eq(worker.socket, 4);
	cr_expect_eq(worker.table, 5);
	cr_expect_eq(worker.teller, -1);
	cr_expect_not(worker.check);
	cr_expect_str_eq(worker.path, "/run/a:b");
	cr_expect_eq(keeper_worker_of(NULL, &worker), -EINVAL);
	cr_expect_eq(keeper_worker_of("4:5:6", &worker), -EINVAL);
}

Test(keeper_table, heir_is_told_whose_it_is)
{
	struct keeper_heir heir;

	cr_assert_eq(keeper_heir_of("7:1234:/run/a:b", &heir), 0);
	cr_expect_eq(heir.socket, 7);
	cr_expect_eq(heir.of, 1234);
	cr_expect_str_eq(heir.path, "/run/a:b");
	cr_expect_eq(keeper_heir_of(NULL, &heir), -EINVAL);
	cr_expect_eq(keeper_heir_of("7:1234", &heir), -EINVAL);
}
