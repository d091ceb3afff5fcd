/* In the log's place, for fuzz targets of what writes to it: it would be all that there is to see. */
#include "log.h"

void log_write(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

bool log_allow(struct log_limit *limit, const char *whose, const char *kind)
{
	(void)limit;
	(void)whose;
	(void)kind;
	return true;
}
