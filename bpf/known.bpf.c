/*
 * Answers what is known absent, before the filesystem is asked: names, in the path walks of all
 * tasks, and extended attributes.  It can only say no: what it does not know, and what it does
 * not understand, goes the usual way.
 *
 * Each program is there twice: for kernels that have "bpf" in their list of LSMs, and as
 * fmod_ret of the function that calls the LSMs, for the others.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "look.h"

char programs_license[] SEC("license") = "GPL";

/* All others' walks end here. */
static __always_inline bool on_fuse(const struct inode *inode)
{
	return inode->i_sb->s_magic == FUSE_SUPER_MAGIC;
}

static __always_inline __u64 inode_nodeid(struct inode *inode)
{
	struct fuse_inode *fuse = (void *)inode - bpf_core_field_offset(struct fuse_inode, inode);

	return BPF_CORE_READ(fuse, nodeid);
}

/* Only in the build for tests: what may happen at this moment. */
static __always_inline void meanwhile_dropped(__u32 slot, const struct known_name_48 *key)
{
	void *map = bpf_map_lookup_elem(&dirs, &slot);

	if (map)
		bpf_map_delete_elem(map, &key->dir);
	map = bpf_map_lookup_elem(&present_16, &slot);
	if (map)
		bpf_map_delete_elem(map, key);
}

/*
 * In a FUSE filesystem.  A function of its own, so that the walks of all others, which end before it, pay
 * for no stack of this size, and for none of the registers that it has to save.
 */
static __noinline int permission(struct inode *inode, int mask, int ret)
{
	struct super_block *sb = inode->i_sb;
	struct place place = {};
	struct known_name_48 key;
	struct known_dir *dir;
	struct nameidata *nd;
	void *present = 0, *word = 0;
	__u32 len;
	__u64 at;
	int verdict, end;

	if (ret)
		return ret;
	place.trust = mount_trust(sb, &place.slot);
	if (!place.trust)
		return 0;
	nd = walk_of(inode, mask);
	if (!nd)
		return 0;
	place.dir = inode_nodeid(inode);
	dir = slot_look(&dirs, &place.slot, &place.dir);
	if (!dir)
		return 0;
	place.complete = dir->complete;
	place.until = dir->until;
	place.since = dir->since;
	/* Only its own: the element may be another directory's by now. */
	if (KEEPS(KNOWN_RULE_OWN) ? place.complete != place.dir : !place.complete)
		place.complete = 0;
	if (KEEPS(KNOWN_RULE_TRUST) && !(place.trust & KNOWN_TRUST_COMPLETE))
		place.complete = 0;
	if (!place.complete && !(place.trust & (KNOWN_TRUST_ABSENT | KNOWN_TRUST_GATE)))
		return 0;
	at = walk_next(nd, key.name);
	if (!at)
		return 0;
	len = name_cut_48(key.name);
	if (len == KNOWN_48) {
		verdict = look_long(&place, at);
		len = verdict >> 8;
		verdict &= 0xff;
	} else {
		/* They are in every directory, and in no listing that we are told of. */
		if (KEEPS(KNOWN_RULE_DOTS) && key.name[0] == '.' && (len == 1 || (len == 2 && key.name[1] == '.')))
			return 0;
		key.dir = place.dir;
		key.len = len;
		key.zero = 0;
		if (!KEEPS(KNOWN_RULE_UNHURRIED))
			meanwhile_dropped(place.slot, &key);
		/* The short key is the beginning of this one. */
		if (place.complete)
			present = len <= KNOWN_16 ? slot_look(&present_16, &place.slot, &key)
						  : slot_look(&present_48, &place.slot, &key);
		if (place_asks_word(&place))
			word = len <= KNOWN_16 ? slot_look(&names_16, &place.slot, &key)
					       : slot_look(&names_48, &place.slot, &key);
		verdict = place_judge(&place, key.name, present, word);
	}
	switch (verdict) {
	case VERDICT_ABSENT:
	case VERDICT_COMPLETE:
		end = name_end(at + len);
		if (end == NAME_UNKNOWN)
			return 0;
		/* Who wants to create the last component has to reach the filesystem. */
		if (KEEPS(KNOWN_RULE_FINAL) && end == NAME_LAST && !call_only_looks(0)) {
			count(place.slot, KNOWN_COUNT_FINAL);
			return 0;
		}
		count(place.slot, verdict == VERDICT_ABSENT ? KNOWN_COUNT_ABSENT : KNOWN_COUNT_COMPLETE);
		return -ENOENT;
	case VERDICT_STALE:
		/* Once: a walk that asks the filesystem anyway is not sent back again. */
		if (!config.lookup_reval || (KEEPS(KNOWN_RULE_REVAL) && nd->flags & config.lookup_reval))
			return 0;
		count(place.slot, KNOWN_COUNT_STALE);
		return -ESTALE;
	default:
		return 0;
	}
}

/* The number of an attribute's name, -1 if it is none that can be known. */
static __always_inline int xattr_number(const char *name)
{
	__u64 word[4] = {};
	long size = bpf_probe_read_kernel_str(word, sizeof(word), name);

	if (size == sizeof("security.selinux") && word[0] == 0x7974697275636573 && word[1] == 0x78756e696c65732e)
		return KNOWN_XATTR_SELINUX;
	if (size == sizeof("security.capability") && word[0] == 0x7974697275636573 && word[1] == 0x6c6962617061632e &&
	    word[2] == 0x797469)
		return KNOWN_XATTR_CAPABILITY;
	if (word[0] != 0x702e6d6574737973 || word[1] != 0x6c63615f7869736f)
		return -1;
	if (size == sizeof("system.posix_acl_access") && word[2] == 0x7373656363615f)
		return KNOWN_XATTR_ACL_ACCESS;
	if (size == sizeof("system.posix_acl_default") && word[2] == 0x746c75616665645f)
		return KNOWN_XATTR_ACL_DEFAULT;
	return -1;
}

static __always_inline int getxattr(struct dentry *dentry, const char *name)
{
	struct inode *inode = dentry->d_inode;
	struct known_xattr_key key = {};
	__u32 slot = 0;
	__u64 *word;
	int number;

	if (!inode || !on_fuse(inode))
		return 0;
	if (!(mount_trust(inode->i_sb, &slot) & KNOWN_TRUST_XATTR))
		return 0;
	number = xattr_number(name);
	/* An LSM that keeps labels of its own says what they are, whatever the filesystem has. */
	if (number < 0 || !(config.xattrs >> number & 1))
		return 0;
	key.nodeid = inode_nodeid(inode);
	key.xattr = number;
	word = slot_look(&xattrs, &slot, &key);
	if (!word || !(known_flags(*word, known_tag(key.nodeid, number, 0), bpf_ktime_get_boot_ns()) & KNOWN_ABSENT))
		return 0;
	count(slot, KNOWN_COUNT_XATTR);
	return -ENODATA;
}

/* Its s_dev is the next filesystem's from now on. */
static __always_inline void filesystem_gone(struct super_block *sb)
{
	__u32 dev = sb->s_dev;

	if (KEEPS(KNOWN_RULE_GONE) && sb->s_magic == FUSE_SUPER_MAGIC)
		bpf_map_delete_elem(&devs, &dev);
}

/* What another program said before stays; ours is the more than that. */
#define ANSWER(ret, answer) ((ret) ? (ret) : (answer))

SEC("?lsm/inode_permission")
int BPF_PROG(lsm_permission, struct inode *inode, int mask, int ret)
{
	return on_fuse(inode) ? permission(inode, mask, ret) : ret;
}

SEC("?fmod_ret/security_inode_permission")
int BPF_PROG(fmod_permission, struct inode *inode, int mask, int ret)
{
	return on_fuse(inode) ? permission(inode, mask, ret) : ret;
}

SEC("?lsm/inode_getxattr")
int BPF_PROG(lsm_getxattr, struct dentry *dentry, const char *name, int ret)
{
	return ANSWER(ret, getxattr(dentry, name));
}

SEC("?fmod_ret/security_inode_getxattr")
int BPF_PROG(fmod_getxattr, struct dentry *dentry, const char *name, int ret)
{
	return ANSWER(ret, getxattr(dentry, name));
}

/* From 6.2 on an ACL is not asked for as an attribute. */
SEC("?lsm/inode_get_acl")
int BPF_PROG(lsm_get_acl, void *idmap, struct dentry *dentry, const char *name, int ret)
{
	return ANSWER(ret, getxattr(dentry, name));
}

SEC("?fmod_ret/security_inode_get_acl")
int BPF_PROG(fmod_get_acl, void *idmap, struct dentry *dentry, const char *name, int ret)
{
	return ANSWER(ret, getxattr(dentry, name));
}

SEC("?lsm/sb_delete")
int BPF_PROG(lsm_sb_delete, struct super_block *sb)
{
	filesystem_gone(sb);
	return 0;
}

SEC("?fentry/security_sb_delete")
int BPF_PROG(fmod_sb_delete, struct super_block *sb)
{
	filesystem_gone(sb);
	return 0;
}
