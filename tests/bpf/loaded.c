/* Prints how many BPF programs and how many maps the kernel has. */
#include <bpf/bpf.h>
#include <stdio.h>

static unsigned count(int (*next)(__u32 id, __u32 *next_id))
{
	unsigned n = 0;
	__u32 id = 0;

	while (next(id, &id) == 0)
		n++;
	return n;
}

int main(void)
{
	printf("%u %u\n", count(bpf_prog_get_next_id), count(bpf_map_get_next_id));
	return 0;
}
