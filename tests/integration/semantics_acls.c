/*
 * Extended attributes, and the POSIX ACLs that are stored in them.
 */
#include "semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define NO_ID ((uint32_t)-1)

/* The five entries of an ACL that gives one user and the group theirs. */
struct acl {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[6];
};

static struct acl acl_of(uint16_t user, uint32_t uid, uint16_t named, uint32_t gid, uint16_t group, uint16_t mask)
{
	struct acl acl = {
		.header = {POSIX_ACL_XATTR_VERSION},
		.entries = {{0x01, user, NO_ID},
			    {0x02, named, uid},
			    {0x04, 4, NO_ID},
			    {0x08, group, gid},
			    {0x10, mask, NO_ID},
			    {0x20, 0, NO_ID}},
	};

	return acl;
}

static void show_acl(struct text *out, const char *name, const char *attribute)
{
	struct acl acl;
	ssize_t size = getxattr(name, attribute, &acl, sizeof(acl));

	text_add(out, "%s %s: %s", name, attribute, text_result(size));
	for (size_t i = 0; size > 0 && i < ((size_t)size - sizeof(acl.header)) / sizeof(acl.entries[0]); i++)
		text_add(out, " %x:%o:%d", acl.entries[i].e_tag, acl.entries[i].e_perm, (int)acl.entries[i].e_id);
	text_add(out, "\n");
}

static void prepare_acl(void)
{
	struct acl user = acl_of(6, SEMANTICS_UID, 6, SEMANTICS_OTHER, 0, 7);
	struct acl masked = acl_of(6, SEMANTICS_UID, 7, SEMANTICS_OTHER, 0, 4);
	struct acl group = acl_of(6, SEMANTICS_OTHER, 0, SEMANTICS_GROUP2, 7, 7);
	struct acl nobody = acl_of(7, 65534, 7, SEMANTICS_OTHER, 0, 7);
	struct acl denied = acl_of(7, SEMANTICS_UID, 0, SEMANTICS_GROUP2, 7, 7);

#define MAKE(name, acl)                                                                                                \
	if (semantics_put(name, "guarded") < 0 || chmod(name, 0600) < 0 ||                                              \
	    setxattr(name, ACL_ACCESS, &(acl), sizeof(acl), 0) < 0)                                                     \
	exit(119)
	MAKE("user", user);
	MAKE("masked", masked);
	MAKE("group", group);
	MAKE("nobody", nobody);
	MAKE("denied", denied);
#undef MAKE
	mkdir("dir", 0700);
	if (setxattr("dir", ACL_ACCESS, &nobody, sizeof(nobody), 0) < 0)
		exit(119);
}

static void access_acls(struct text *out)
{
	static const char *const names[] = {"user", "masked", "group", "nobody", "denied"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd;

		semantics_show(out, names[i]);
		show_acl(out, names[i], ACL_ACCESS);
		text_add(out, "r %s", text_result(access(names[i], R_OK)));
		text_add(out, " w %s", text_result(access(names[i], W_OK)));
		text_add(out, " x %s\n", text_result(access(names[i], X_OK)));
		fd = open(names[i], O_RDWR | O_CLOEXEC);
		text_add(out, "open: %s\n", fd < 0 ? text_errno(errno) : "ok");
		if (fd >= 0)
			close(fd);
		TRY(out, chmod(names[i], 0640));
		semantics_show(out, names[i]);
		show_acl(out, names[i], ACL_ACCESS);
		TRY(out, removexattr(names[i], ACL_ACCESS));
		semantics_show(out, names[i]);
		show_acl(out, names[i], ACL_ACCESS);
	}
	TRY(out, semantics_put("dir/f", "x"));
	semantics_show(out, "dir/f");
}

static void own_acls(struct text *out)
{
	struct acl acl = acl_of(6, SEMANTICS_OTHER, 6, SEMANTICS_GROUP, 4, 6);
	struct acl broken = acl;
	struct acl more = acl_of(7, SEMANTICS_UID, 7, SEMANTICS_GID, 7, 7);

	TRY(out, semantics_put("f", "x"));
	TRY(out, mkdir("d", 0750));
	TRY(out, setxattr("f", ACL_ACCESS, &acl, sizeof(acl), 0));
	semantics_show(out, "f");
	show_acl(out, "f", ACL_ACCESS);
	TRY(out, chmod("f", 0777));
	show_acl(out, "f", ACL_ACCESS);
	TRY(out, chmod("f", 0700));
	show_acl(out, "f", ACL_ACCESS);
	broken.header.a_version = 9;
	TRY(out, setxattr("f", ACL_ACCESS, &broken, sizeof(broken), 0));
	broken = acl;
	broken.entries[4].e_tag = 0x40;
	TRY(out, setxattr("f", ACL_ACCESS, &broken, sizeof(broken), 0));
	TRY(out, setxattr("f", ACL_ACCESS, &acl, 7, 0));
	TRY(out, setxattr("f", ACL_DEFAULT, &acl, sizeof(acl), 0));
	TRY(out, symlink("f", "s"));
	TRY(out, lsetxattr("s", ACL_ACCESS, &acl, sizeof(acl), 0));
	TRY(out, setxattr("d", ACL_DEFAULT, &acl, sizeof(acl), 0));
	semantics_show(out, "d");
	show_acl(out, "d", ACL_DEFAULT);
	umask(077);
	TRY(out, semantics_put("d/f", "x"));
	semantics_show(out, "d/f");
	show_acl(out, "d/f", ACL_ACCESS);
	TRY(out, mkdir("d/e", 0777));
	semantics_show(out, "d/e");
	show_acl(out, "d/e", ACL_ACCESS);
	show_acl(out, "d/e", ACL_DEFAULT);
	TRY(out, mkfifo("d/p", 0666));
	semantics_show(out, "d/p");
	show_acl(out, "d/p", ACL_ACCESS);
	TRY(out, symlink("x", "d/s"));
	TRY(out, link("f", "d/l"));
	show_acl(out, "d/l", ACL_ACCESS);
	TRY(out, setxattr("d", ACL_DEFAULT, &more, sizeof(more), XATTR_CREATE));
	TRY(out, setxattr("d", ACL_DEFAULT, &more, sizeof(more), XATTR_REPLACE));
	TRY(out, close(open("d/tmp", O_RDWR | O_CREAT | O_EXCL, 0640)));
	semantics_show(out, "d/tmp");
	show_acl(out, "d/tmp", ACL_ACCESS);
	TRY(out, removexattr("d", ACL_DEFAULT));
	show_acl(out, "d", ACL_DEFAULT);
	TRY(out, semantics_put("d/g", "x"));
	semantics_show(out, "d/g");
}

static void list_xattrs(struct text *out, const char *name)
{
	char list[1024];
	ssize_t size = listxattr(name, list, sizeof(list));
	unsigned users = 0;

	text_add(out, "listxattr %s: %s\n", name, text_result(size));
	/* The order is the store's: it may differ between two directories. */
	for (const char *at = list; size > 0 && at < list + size; at += strlen(at) + 1)
		users += strncmp(at, "user.", 5) == 0;
	text_add(out, "of which user.*: %u\n", users);
}

static void xattrs(struct text *out)
{
	char value[70000];
	char name[400];

	memset(value, 'v', sizeof(value));
	TRY(out, semantics_put("f", "x"));
	TRY(out, getxattr("f", "user.a", value, sizeof(value)));
	TRY(out, setxattr("f", "user.a", "one", 3, XATTR_REPLACE));
	TRY(out, setxattr("f", "user.a", "one", 3, XATTR_CREATE));
	TRY(out, setxattr("f", "user.a", "two", 3, XATTR_CREATE));
	TRY(out, setxattr("f", "user.a", "three", 5, XATTR_REPLACE));
	TRY(out, setxattr("f", "user.a", "three", 5, XATTR_REPLACE | XATTR_CREATE));
	TRY(out, getxattr("f", "user.a", NULL, 0));
	TRY(out, getxattr("f", "user.a", value, 2));
	TRY(out, getxattr("f", "user.a", value, sizeof(value)));
	text_add(out, "%.5s\n", value);
	TRY(out, setxattr("f", "user.empty", "", 0, 0));
	TRY(out, getxattr("f", "user.empty", value, sizeof(value)));
	TRY(out, setxattr("f", "user.big", value, 3000, 0));
	TRY(out, getxattr("f", "user.big", value, sizeof(value)));
	TRY(out, setxattr("f", "user.huge", value, 65537, 0));
	TRY(out, setxattr("f", "user.", "x", 1, 0));
	TRY(out, setxattr("f", "", "x", 1, 0));
	TRY(out, setxattr("f", "nonsense.a", "x", 1, 0));
	TRY(out, setxattr("f", "trusted.a", "x", 1, 0));
	TRY(out, setxattr("f", "security.a", "x", 1, 0));
	TRY(out, getxattr("f", "trusted.a", value, sizeof(value)));
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = '\0';
	TRY(out, setxattr("f", name, "x", 1, 0));
	name[255] = 'n';
	name[256] = '\0';
	TRY(out, setxattr("f", name, "x", 1, 0));
	list_xattrs(out, "f");
	TRY(out, listxattr("f", NULL, 0));
	TRY(out, listxattr("f", value, 3));
	TRY(out, removexattr("f", "user.a"));
	TRY(out, removexattr("f", "user.a"));
	TRY(out, mkdir("d", 0755));
	TRY(out, setxattr("d", "user.d", "dir", 3, 0));
	list_xattrs(out, "d");
	TRY(out, symlink("f", "s"));
	TRY(out, lsetxattr("s", "user.s", "x", 1, 0));
	TRY(out, lgetxattr("s", "user.s", value, sizeof(value)));
	TRY(out, llistxattr("s", value, sizeof(value)));
	TRY(out, mkfifo("p", 0644));
	TRY(out, setxattr("p", "user.p", "x", 1, 0));
	TRY(out, getxattr("missing", "user.a", value, sizeof(value)));
	TRY(out, setxattr("f", "user.bytes", "\0\1\xff", 3, 0));
	TRY(out, getxattr("f", "user.bytes", value, sizeof(value)));
	text_add(out, "%02x %02x %02x\n", (unsigned char)value[0], (unsigned char)value[1], (unsigned char)value[2]);
}

static void prepare_others_xattrs(void)
{
	semantics_put("readable", "x");
	semantics_put("secret", "x");
	mkdir("sticky", 0755);
	if (setxattr("readable", "user.a", "x", 1, 0) < 0 || setxattr("secret", "user.a", "x", 1, 0) < 0 ||
	    setxattr("readable", "trusted.t", "x", 1, 0) < 0 || chmod("secret", 0600) < 0 || chmod("sticky", 01777) < 0)
		exit(119);
}

static void others_xattrs(struct text *out)
{
	char value[16];

	TRY(out, getxattr("readable", "user.a", value, sizeof(value)));
	TRY(out, setxattr("readable", "user.a", "y", 1, 0));
	TRY(out, removexattr("readable", "user.a"));
	TRY(out, getxattr("readable", "trusted.t", value, sizeof(value)));
	list_xattrs(out, "readable");
	TRY(out, getxattr("secret", "user.a", value, sizeof(value)));
	TRY(out, setxattr("secret", "user.a", "y", 1, 0));
	list_xattrs(out, "secret");
	TRY(out, setxattr("sticky", "user.a", "y", 1, 0));
	TRY(out, getxattr("sticky", "user.a", value, sizeof(value)));
}

static void prepare_capability(void)
{
	/* cap_net_raw+ep, version 2 */
	static const uint32_t cap[] = {0x02000001, 1u << 13, 0, 0, 0};

	semantics_put("program", "x");
	chmod("program", 0777);
	if (setxattr("program", "security.capability", cap, sizeof(cap), 0) < 0)
		exit(119);
}

static void capabilities(struct text *out)
{
	char value[64];
	int fd;

	TRY(out, getxattr("program", "security.capability", value, sizeof(value)));
	fd = open("program", O_WRONLY | O_CLOEXEC);
	TRY(out, write(fd, "y", 1));
	close(fd);
	TRY(out, getxattr("program", "security.capability", value, sizeof(value)));
}

const struct semantics_check semantics_acls[] = {
	{"access ACLs", prepare_acl, access_acls},
	{"setting and inheriting ACLs", NULL, own_acls},
	{"extended attributes", NULL, xattrs},
	{"extended attributes of others", prepare_others_xattrs, others_xattrs},
	{"a write drops file capabilities", prepare_capability, capabilities},
	{NULL, NULL, NULL},
};
