/* Takes the compiled programs in.  They are named from the top of the build tree, where compilers run. */
#include "cache_bpf_object.h"

#define OBJECT(name)                                                                                                  \
	__asm__(".pushsection .rodata\n"                                                                              \
		".balign 8\n"                                                                                         \
		".type cache_bpf_" #name "_begin, @object\n"                                                          \
		"cache_bpf_" #name "_begin:\n"                                                                        \
		".incbin \"bpf/" #name ".bpf.o\"\n"                                                                   \
		"cache_bpf_" #name "_end:\n"                                                                          \
		".popsection\n");                                                                                     \
	extern const char cache_bpf_##name##_begin[] __attribute__((visibility("hidden")));                           \
	extern const char cache_bpf_##name##_end[] __attribute__((visibility("hidden")));                             \
                                                                                                                      \
	struct cache_bpf_object *cache_bpf_##name(void)                                                               \
	{                                                                                                             \
		static struct cache_bpf_object object;                                                                \
                                                                                                                      \
		if (!object.bytes) {                                                                                  \
			object.bytes = cache_bpf_##name##_begin;                                                      \
			object.size = (size_t)(cache_bpf_##name##_end - cache_bpf_##name##_begin);                    \
		}                                                                                                     \
		return &object;                                                                                       \
	}

OBJECT(known)
OBJECT(calibrate)
