/* See placement.h. */
#include "server/supervisor/placement.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/err.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "server/supervisor/supervisor.h"

#define MOVE_NS (60 * NS_PER_S)

static bool is_head(const struct child *c)
{
	return strcmp(c->kind, "head") == 0;
}

static const char *group_of(struct supervisor *s, const char *head)
{
	const struct config_head *h = config_head(s->config, head);
	return h ? h->group : NULL;
}

static bool same_group(struct supervisor *s, const char *a, const char *b)
{
	const char *x = group_of(s, a), *y = group_of(s, b);
	return x && y && strcmp(x, y) == 0;
}

static void place(struct child *c, const char *head)
{
	snprintf(c->place, sizeof(c->place), "%s", head);
	c->failed_here = 0;
	supervisor_settle(c);
}

/* ---- kept ---- */

static void file_path(const struct supervisor *s, const char *suffix, char *ret, size_t size)
{
	snprintf(ret, size, "%.600s/placement%s", s->config->array.state_dir, suffix);
}

void placement_restore(struct child *c)
{
	char path[640], line[128], a[32], b[32];
	snprintf(c->place, sizeof(c->place), "%s", c->name);
	if (!is_head(c))
		return;
	file_path(c->sup, "", path, sizeof(path));
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "service %31s %31s", a, b) == 2 && strcmp(a, c->name) == 0 &&
		    same_group(c->sup, a, b))
			snprintf(c->place, sizeof(c->place), "%s", b);
		else if (sscanf(line, "disabled %31s", a) == 1 && strcmp(a, c->name) == 0)
			c->disabled = true;
	}
	if (f)
		fclose(f);
}

static void write_all(struct supervisor *s, FILE *f)
{
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link) {
		if (is_head(c) && !placement_at_home(c))
			fprintf(f, "service %s %s\n", c->name, c->place);
		if (is_head(c) && c->disabled)
			fprintf(f, "disabled %s\n", c->name);
	}
}

static int sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

int placement_save(struct supervisor *s)
{
	char path[640], fresh[640];
	file_path(s, "", path, sizeof(path));
	file_path(s, ".new", fresh, sizeof(fresh));
	FILE *f = fopen(fresh, "we");
	int rc = f ? 0 : -errno;
	if (f) {
		write_all(s, f);
		rc = fflush(f) || fsync(fileno(f)) ? -errno : 0;
		fclose(f);
	}
	if (!rc && rename(fresh, path))
		rc = -errno;
	rc = rc ? rc : sync_folder(s->config->array.state_dir);
	if (rc)
		event_write(LOG_L_ERROR, "head.placement",
			    "where services run cannot be kept in %.120s: %s", path, err_text(rc));
	return rc;
}

void placement_follow(struct supervisor *s)
{
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link)
		if (is_head(c) && !placement_at_home(c) && !same_group(s, c->name, c->place)) {
			event_write(LOG_L_NOTICE, "head.placed",
				    "service %s goes home: head %s is not of its group any more",
				    c->name, c->place);
			/* What changes its settings starts it anew. */
			snprintf(c->place, sizeof(c->place), "%s", c->name);
		}
	placement_save(s);
}

bool placement_holds(const struct child *service)
{
	char path[64], line[1024];
	const char *at = service->name;
	if (!is_head(service))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)service->pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return true; /* it ends */
	line[n] = '\0';
	for (const char *p = line; p < line + n; p += strlen(p) + 1)
		if (strcmp(p, "--at") == 0)
			at = p + strlen(p) + 1; /* at most the last byte, which is 0 */
	return strcmp(at, service->place) == 0;
}

/* ---- choosing ---- */

bool placement_at_home(const struct child *service)
{
	return strcmp(service->place, service->name) == 0;
}

unsigned placement_count(struct supervisor *s, const char *head)
{
	struct child *c;
	unsigned n = 0;
	TAILQ_FOREACH (c, &s->children, link)
		n += is_head(c) && strcmp(c->place, head) == 0;
	return n;
}

struct child *placement_choose(struct supervisor *s, const struct child *service, const char *but)
{
	struct child *c, *best = NULL;
	TAILQ_FOREACH (c, &s->children, link)
		if (is_head(c) && !c->disabled && strcmp(c->name, but) != 0 &&
		    same_group(s, service->name, c->name) &&
		    (!best || placement_count(s, c->name) < placement_count(s, best->name)))
			best = c;
	return best;
}

int placement_check(struct supervisor *s, const struct child *service, const char *head,
		    char why[PLACE_WHY_LEN])
{
	const struct child *to = supervisor_child(s, "head", head);
	if (!to) {
		snprintf(why, PLACE_WHY_LEN, "no head %.31s is configured", head);
		return -ENOENT;
	}
	if (!same_group(s, service->name, head)) {
		snprintf(why, PLACE_WHY_LEN, "service %s is of group %.31s, head %s of group %.31s",
			 service->name, group_of(s, service->name) ?: "?", head,
			 group_of(s, head) ?: "?");
		return -EINVAL;
	}
	if (to->disabled) {
		snprintf(why, PLACE_WHY_LEN, "head %s is disabled", head);
		return -EBUSY;
	}
	return 0;
}

/* ---- moving ---- */

static int move_locked(struct supervisor *s, struct child *c, const char *head, char *why)
{
	char from[sizeof(c->place)];
	int rc = placement_check(s, c, head, why);
	if (rc || strcmp(c->place, head) == 0)
		return rc;
	memcpy(from, c->place, sizeof(from));
	place(c, head);
	rc = placement_save(s);
	if (rc) {
		snprintf(why, PLACE_WHY_LEN, "that cannot be kept: %s", err_text(rc));
		place(c, from);
		return rc;
	}
	rc = service_replace(c, MOVE_NS, why);
	if (rc == -ECHILD && strcmp(c->place, head) == 0) {
		place(c, from);
		placement_save(s);
		child_kick(c);
	}
	event_write(rc ? LOG_L_ERROR : LOG_L_NOTICE, "head.placed",
		    "service %s: %s head %s to head %s%s%.120s", c->name,
		    rc ? "not moved from" : "moved from", from, head, rc ? ": " : "",
		    rc ? why : "");
	return rc;
}

int placement_move(struct supervisor *s, struct child *service, const char *head,
		   char why[PLACE_WHY_LEN])
{
	why[0] = '\0';
	service->users++;
	task_mutex_lock(&s->moving);
	int rc = move_locked(s, service, head, why);
	task_mutex_unlock(&s->moving);
	child_leave(service);
	return rc;
}

/* The one after its present head, in the order of the configuration: so all are tried. */
static struct child *next_head(struct child *service)
{
	struct supervisor *s = service->sup;
	struct child *c, *first = NULL;
	bool past = false;
	TAILQ_FOREACH (c, &s->children, link) {
		if (!is_head(c))
			continue;
		bool here = strcmp(c->name, service->place) == 0;
		if (!here && !c->disabled && same_group(s, service->name, c->name)) {
			if (past)
				return c;
			first = first ? first : c;
		}
		past = past || here;
	}
	return first;
}

void placement_avoid(struct child *service)
{
	struct child *to = is_head(service) ? next_head(service) : NULL;
	if (!to) {
		service->failed_here = 0;
		return;
	}
	event_write(LOG_L_WARN, "head.placed",
		    "service %s does not come up at head %s; it is tried at head %s", service->name,
		    service->place, to->name);
	place(service, to->name);
	placement_save(service->sup);
}
