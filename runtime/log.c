/*
 * Log lines (runtime/log.h).
 *
 * A line is made in one buffer and written with one write(2), so that lines of
 * several threads and processes never mix. On a terminal or in a file it starts
 * with the time; when stderr is journald's (JOURNAL_STREAM names its device and
 * inode) it starts with the <N> priority instead.
 *
 * Rate limit: a call site writes at most SITE_MAX lines in one second; what was
 * dropped is told when the site writes next, in a later second.
 */
#include "runtime/log.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024
#define SITE_MAX       10

static const struct {
	const char *name;
	int priority; /* syslog's */
} levels[] = {
    [LOG_L_DEBUG] = {"debug", 7}, [LOG_L_INFO] = {"info", 6},	[LOG_L_NOTICE] = {"notice", 5},
    [LOG_L_WARN] = {"warn", 4},	  [LOG_L_ERROR] = {"error", 3},
};

static _Atomic int least_level = LOG_L_INFO;
static char ident[64]; /* set once, before threads start */

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&least_level, level, memory_order_relaxed);
}

int log_level_parse(const char *name, enum log_level *ret)
{
	for (unsigned i = 0; name && i < ARRAY_LEN(levels); i++) {
		if (strcasecmp(name, levels[i].name) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_ident(const char *name)
{
	snprintf(ident, sizeof(ident), "%s", name ? name : "");
}

static bool to_journal(void)
{
	static _Atomic int known; /* 0 not looked, 1 no, 2 yes */
	int k = atomic_load_explicit(&known, memory_order_relaxed);
	if (k == 0) {
		const char *stream = getenv("JOURNAL_STREAM");
		unsigned long long dev, ino;
		struct stat st;
		bool yes = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
			   fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
		k = yes ? 2 : 1;
		atomic_store_explicit(&known, k, memory_order_relaxed);
	}
	return k == 2;
}

/* Everything before the message. */
static size_t put_head(char *line, size_t size, enum log_level level)
{
	int n;
	const char *sep = ident[0] ? ": " : "";
	if (to_journal()) {
		n = snprintf(line, size, "<%d>%s%s%s ", levels[level].priority, ident, sep,
			     levels[level].name);
		return (size_t)n;
	}
	struct timespec ts;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s%s%s ", tm.tm_year + 1900,
		     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		     ts.tv_nsec / 1000000, ident, sep, levels[level].name);
	return (size_t)n;
}

static void write_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[LINE_MAX_BYTES];
	size_t n = put_head(line, sizeof(line) - 1, level);
	int m = vsnprintf(line + n, sizeof(line) - 1 - n, fmt, ap);
	size_t end = m < 0 ? n : MIN(n + (size_t)m, sizeof(line) - 2);
	/* What a peer sent may be in it: it must not make lines of its own. */
	for (size_t i = n; i < end; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[end++] = '\n';
	ssize_t rc = write(STDERR_FILENO, line, end);
	(void)rc; /* there is nobody left to tell */
}

static void __attribute__((format(printf, 2, 3)))
write_one(enum log_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	write_line(level, fmt, ap);
	va_end(ap);
}

/* May the site write now? In a new second, ret_dropped is what it kept back before. */
static bool site_allows(struct log_site *site, uint32_t *ret_dropped)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	uint64_t now = (uint64_t)ts.tv_sec + 1; /* a site starts with window 0 */
	uint64_t window = atomic_load(&site->window);
	*ret_dropped = 0;
	if (window != now && atomic_compare_exchange_strong(&site->window, &window, now)) {
		atomic_store(&site->count, 0);
		*ret_dropped = atomic_exchange(&site->dropped, 0);
	}
	if (atomic_fetch_add(&site->count, 1) < SITE_MAX)
		return true;
	atomic_fetch_add(&site->dropped, 1);
	return false;
}

void log_write(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	uint32_t dropped = 0;
	if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
		return;
	if (site && !site_allows(site, &dropped))
		return;
	if (dropped)
		write_one(level, "log: %u more lines like the next were left out", dropped);
	va_list ap;
	va_start(ap, fmt);
	write_line(level, fmt, ap);
	va_end(ap);
}
