/*
 * Whose objects are made, and with what privilege.
 *
 * The kernel has checked permissions with the caller's full credentials before a
 * request gets here (FUSE_POSIX_ACL), so a privileged server keeps its capabilities
 * and takes on the caller's file-system ids and umask only for what it creates: an
 * object then has its owner, group and mode from its first moment, by the store's
 * own rules for set-group-id directories and default ACLs.
 *
 * Ids, umask and capabilities belong to the thread.  They stay as the last request
 * left them: nothing but creating depends on them, and equal ones cost no call.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs.h"

static __thread struct creds {
	bool holds_caps; /* other ids do not cost the capabilities */
	bool no_fsetid;
	uid_t uid;
	gid_t gid;
	uint32_t mask;
} creds;

/* What the process began with: asking costs a system call each. */
static uid_t own_uid;
static gid_t own_gid;

static int caps_get(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capget, &header, data) == 0 ? 0 : -errno;
}

static bool caps_have(const struct __user_cap_data_struct data[2], unsigned cap)
{
	return (data[cap / 32].effective & (1u << cap % 32)) != 0;
}

void creds_init(struct fs *fs)
{
	struct __user_cap_data_struct data[2];

	own_uid = geteuid();
	own_gid = getegid();
	/* Without it the kernel is asked to apply umasks itself, before a default ACL could replace them. */
	fs->own_umask = unshare(CLONE_FS) == 0;
	memset(data, 0, sizeof(data));
	if (caps_get(data) != 0)
		return;
	fs->privileged = own_uid == 0 && caps_have(data, CAP_SETUID) && caps_have(data, CAP_SETGID);
	fs->by_handle = caps_have(data, CAP_DAC_READ_SEARCH);
}

static void warn_once(const char *what, const char *consequence)
{
	static atomic_flag warned = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&warned))
		fs_warn("%s: %s; %s", what, strerror(errno), consequence);
}

int creds_thread_start(struct relay_session *session)
{
	const struct fs *fs = relay_session_userdata(session);
	int bits;

	creds.uid = own_uid;
	creds.gid = own_gid;
	creds.mask = 0;
	if (fs->own_umask && unshare(CLONE_FS) < 0)
		return -errno;
	umask(0);
	if (!fs->privileged)
		return 0;
	bits = prctl(PR_GET_SECUREBITS);
	creds.holds_caps = bits >= 0 && prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP) == 0;
	if (!creds.holds_caps)
		warn_once(
			"prctl(PR_SET_SECUREBITS)",
			"a file cannot be created where its creator's right to do so comes from a supplementary group");
	return 0;
}

/* The raw calls: those of the C library act on every thread. */
static void ids_set(uid_t uid, gid_t gid)
{
	if (creds.gid != gid) {
		syscall(SYS_setfsgid, gid);
		creds.gid = gid;
	}
	if (creds.uid != uid) {
		syscall(SYS_setfsuid, uid);
		creds.uid = uid;
	}
}

void creds_take(struct fs *fs, const struct relay_req *req, uint32_t mask)
{
	const struct fuse_in_header *header = relay_req_header(req);

	if (fs->own_umask && creds.mask != mask) {
		umask(mask);
		creds.mask = mask;
	}
	if (fs->privileged)
		ids_set(header->uid, header->gid);
	creds_fsetid(fs, true);
}

void creds_own(struct fs *fs)
{
	if (fs->privileged)
		ids_set(own_uid, own_gid);
	creds_fsetid(fs, true);
}

void creds_drop(struct fs *fs)
{
	if (fs->privileged && !creds.holds_caps)
		ids_set(own_uid, own_gid);
}

void creds_fsetid(struct fs *fs, bool on)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (!fs->privileged || creds.no_fsetid == !on)
		return;
	if (caps_get(data) != 0)
		return;
	data[0].effective &= ~(1u << CAP_FSETID);
	if (on)
		data[0].effective |= data[0].permitted & (1u << CAP_FSETID);
	if (syscall(SYS_capset, &header, data) == 0)
		creds.no_fsetid = !on;
}
