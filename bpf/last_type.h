/* nameidata.last_type: an int or an enum, by the kernel; -1 where it is neither. */
#ifndef RELAY_BPF_LAST_TYPE_H
#define RELAY_BPF_LAST_TYPE_H

static __always_inline int walk_last_type(struct nameidata *nd)
{
	struct nameidata___int *with_int = (void *)nd;
	struct nameidata___enum *with_enum = (void *)nd;

	if (bpf_core_field_exists(with_int->last_type))
		return with_int->last_type;
	if (bpf_core_field_exists(with_enum->last_type))
		return with_enum->last_type;
	return -1;
}

#endif
