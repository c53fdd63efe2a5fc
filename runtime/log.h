/*
 * Structured log: one line an event, `level subsystem: message key=value …`, to stderr (or to
 * journald when it reads our stderr: then with its <N> priorities and without a time).
 * Rate-limited a call site: more than 10 a second are counted and told in one line.
 * Never on the path of a request that succeeds.
 */
#ifndef ISTHMUS_RUNTIME_LOG_H
#define ISTHMUS_RUNTIME_LOG_H

#include <stdint.h>

enum log_level { LOG_L_DEBUG, LOG_L_INFO, LOG_L_NOTICE, LOG_L_WARN, LOG_L_ERROR };

struct log_site {
	_Atomic uint64_t window; /* second of the window */
	_Atomic uint32_t count;
	_Atomic uint32_t dropped;
};

void log_set_level(enum log_level level);
int log_level_parse(const char *name, enum log_level *ret); /* 0 or -EINVAL */
/* Name put in front of every line, e.g. "controller-a". Copied. */
void log_set_ident(const char *ident);

void log_write(struct log_site *site, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define LOG_AT(level, ...)                                                                         \
	do {                                                                                       \
		static struct log_site log_site_;                                                  \
		log_write(&log_site_, level, __VA_ARGS__);                                         \
	} while (0)
#define log_debug(...)	LOG_AT(LOG_L_DEBUG, __VA_ARGS__)
#define log_info(...)	LOG_AT(LOG_L_INFO, __VA_ARGS__)
#define log_notice(...) LOG_AT(LOG_L_NOTICE, __VA_ARGS__)
#define log_warn(...)	LOG_AT(LOG_L_WARN, __VA_ARGS__)
#define log_error(...)	LOG_AT(LOG_L_ERROR, __VA_ARGS__)

/*
 * The event log: what an admin must see (failover, degraded, rebuild, backup, corruption found).
 * Kept in a ring file of this process that survives restarts, listed by `isthmus event list`.
 * Also logged. `kind` is a short dotted word ("disk.failed"); text is for people.
 */
struct event {
	uint64_t seq;
	uint64_t realtime_ns;
	uint32_t level;
	char kind[32];
	char text[212];
};
/* Opens or makes the ring file (1024 events). Before it is open events are only logged. */
int event_log_open(const char *path);
void event_log_close(void);
void event_write(enum log_level level, const char *kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The newest n events with seq > after, oldest first; returns how many. */
int event_log_read(uint64_t after, struct event *ret, int n);
/* The same of another process's file; n up to 1024. -errno when it cannot be read. */
int event_log_read_file(const char *path, struct event *ret, int n);

#endif
