/*
 * The event log (runtime/log.h): a ring file of EVENTS slots of SLOT_SIZE bytes.
 *
 *   slot   at (seq % EVENTS) * SLOT_SIZE: struct event (host byte order: the
 *          file never leaves the host), then CRC32C of it
 *
 * There is no header: a slot is valid when its checksum holds and its sequence
 * number belongs at its place. The next number is one more than the highest
 * valid one. A slot torn by a crash is one event less, nothing more. All valid
 * events are held in memory too; reading makes no system call.
 */
#include "runtime/log.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVENTS	  1024
#define SLOT_SIZE 272

struct slot {
	struct event event;
	uint32_t crc;
	uint32_t zero;
};
_Static_assert(sizeof(struct event) == 264, "as kept in files");
_Static_assert(sizeof(struct slot) == SLOT_SIZE, "as kept in files");

/* One a process, like the log: whoever sees an event need not know where the log is. */
static struct {
	pthread_mutex_t lock;
	int fd;
	uint64_t last; /* 0: none yet */
	struct slot *slots;
} events = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static uint32_t slot_crc(const struct slot *s)
{
	return crc32c(&s->event, sizeof(s->event));
}

static bool slot_valid(const struct slot *s, unsigned place)
{
	return s->event.seq != 0 && s->event.seq % EVENTS == place && s->crc == slot_crc(s) &&
	       memchr(s->event.kind, 0, sizeof(s->event.kind)) &&
	       memchr(s->event.text, 0, sizeof(s->event.text)) && s->event.level <= LOG_L_ERROR;
}

static int slots_load(int fd, struct slot *slots, uint64_t *ret_last)
{
	size_t want = EVENTS * sizeof(*slots), have = 0;
	uint64_t last = 0;
	while (have < want) {
		ssize_t n = pread(fd, (char *)slots + have, want - have, (off_t)have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	for (unsigned i = 0; i < EVENTS; i++) {
		if (!slot_valid(&slots[i], i))
			memset(&slots[i], 0, sizeof(slots[i]));
		last = MAX(last, slots[i].event.seq);
	}
	*ret_last = last;
	return 0;
}

int event_log_open(const char *path)
{
	uint64_t last = 0;
	struct slot *slots = calloc(EVENTS, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	int rc = fd < 0 ? -errno : slots_load(fd, slots, &last);
	if (rc) {
		if (fd >= 0)
			close(fd);
		free(slots);
		return rc;
	}
	event_log_close();
	pthread_mutex_lock(&events.lock);
	events.fd = fd;
	events.slots = slots;
	events.last = last;
	pthread_mutex_unlock(&events.lock);
	return 0;
}

void event_log_close(void)
{
	pthread_mutex_lock(&events.lock);
	if (events.fd >= 0) {
		fsync(events.fd);
		close(events.fd);
	}
	free(events.slots);
	events.fd = -1;
	events.slots = NULL;
	pthread_mutex_unlock(&events.lock);
}

static void event_keep(enum log_level level, const char *kind, const char *text)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	pthread_mutex_lock(&events.lock);
	if (events.slots) {
		uint64_t seq = ++events.last;
		struct slot *s = &events.slots[seq % EVENTS];
		memset(s, 0, sizeof(*s));
		s->event.seq = seq;
		s->event.realtime_ns = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
		s->event.level = level;
		snprintf(s->event.kind, sizeof(s->event.kind), "%s", kind);
		snprintf(s->event.text, sizeof(s->event.text), "%s", text);
		s->crc = slot_crc(s);
		if (pwrite(events.fd, s, sizeof(*s), (off_t)(seq % EVENTS * SLOT_SIZE)) !=
		    (ssize_t)sizeof(*s))
			log_warn("event: not written to the event log errno=%d", errno);
	}
	pthread_mutex_unlock(&events.lock);
}

void event_write(enum log_level level, const char *kind, const char *fmt, ...)
{
	static struct log_site site;
	char text[sizeof(((struct event *)0)->text)];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_write(&site, level, "event %s: %s", kind, text);
	event_keep(level, kind, text);
}

int event_log_read(uint64_t after, struct event *ret, int n)
{
	int found = 0;
	pthread_mutex_lock(&events.lock);
	if (events.slots && events.last > after && n > 0) {
		uint64_t room = MIN((uint64_t)n, (uint64_t)EVENTS);
		uint64_t first = MAX(after, events.last > room ? events.last - room : 0) + 1;
		for (uint64_t seq = first; seq <= events.last; seq++) {
			const struct slot *s = &events.slots[seq % EVENTS];
			if (s->event.seq == seq)
				ret[found++] = s->event;
		}
	}
	pthread_mutex_unlock(&events.lock);
	return found;
}

int event_log_read_file(const char *path, struct event *ret, int n)
{
	uint64_t last = 0;
	int found = 0;
	struct slot *slots = calloc(EVENTS, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : slots_load(fd, slots, &last);
	uint64_t room = (uint64_t)MAX(MIN(n, EVENTS), 0);
	for (uint64_t seq = last > room ? last - room + 1 : 1; rc == 0 && seq <= last; seq++)
		if (slots[seq % EVENTS].event.seq == seq)
			ret[found++] = slots[seq % EVENTS].event;
	if (fd >= 0)
		close(fd);
	free(slots);
	return rc ? rc : found;
}
