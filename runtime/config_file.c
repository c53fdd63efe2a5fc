/*
 * Loading of the configuration file. The file is read once, bounded, and parsed
 * twice from memory: by libyaml into a tree that knows lines, walked to tell
 * every problem; then by libcyaml into the structs. Nothing is loaded from a
 * file that has a problem.
 */
#include "runtime/config_load.h"
#include "runtime/err.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 108

void config_problem(struct config_load *l, const yaml_node_t *node, const char *remedy,
		    const char *fmt, ...)
{
	if (++l->problems > CONFIG_PROBLEMS_MAX)
		return;
	char text[640], line[1536];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	size_t at = node ? node->start_mark.line + 1 : 1;
	snprintf(line, sizeof(line), "%.512s:%zu: %s; %s", l->path, at, text, remedy);
	/* What the file holds is shown; it must not steer a terminal. */
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	if (l->say)
		l->say(l->arg, line);
}

yaml_node_t *config_node_key(struct config_load *l, yaml_node_t *map, const char *key)
{
	if (!map || map->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *k = yaml_document_get_node(&l->doc, p->key);
		if (k->type == YAML_SCALAR_NODE && strcmp((char *)k->data.scalar.value, key) == 0)
			return yaml_document_get_node(&l->doc, p->value);
	}
	return NULL;
}

yaml_node_t *config_node_item(struct config_load *l, yaml_node_t *list, unsigned i)
{
	if (!list || list->type != YAML_SEQUENCE_NODE)
		return NULL;
	yaml_node_item_t *start = list->data.sequence.items.start;
	if ((size_t)(list->data.sequence.items.top - start) <= i)
		return NULL;
	return yaml_document_get_node(&l->doc, start[i]);
}

/* ---- reading and parsing ---- */

static int read_all(int fd, char *buf, size_t size, size_t *ret_len)
{
	size_t n = 0;
	while (n < size) {
		ssize_t k = read(fd, buf + n, size - n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		if (k == 0)
			break;
		n += (size_t)k;
	}
	*ret_len = n;
	return 0;
}

/* The whole file, at most CONFIG_SIZE_MAX. -EFBIG beyond. */
static int read_file(const char *path, char **ret, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	struct stat st;
	int rc = 0;
	char *buf = NULL;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (S_ISDIR(st.st_mode))
		rc = -EISDIR;
	else if (!(buf = malloc(CONFIG_SIZE_MAX + 1)))
		rc = -ENOMEM;
	else
		rc = read_all(fd, buf, CONFIG_SIZE_MAX + 1, ret_len);
	if (!rc && *ret_len > CONFIG_SIZE_MAX)
		rc = -EFBIG;
	close(fd);
	if (rc)
		free(buf);
	else
		*ret = buf;
	return rc;
}

static void parser_problem(struct config_load *l, const yaml_parser_t *p)
{
	yaml_node_t place = {.start_mark = p->problem_mark};
	if (p->error == YAML_READER_ERROR)
		config_problem(l, &place, "write plain UTF-8 text", "this is not text: %s",
			       p->problem ? p->problem : "cannot be read");
	else
		config_problem(l, &place, "see isthmus.conf(5) for an example",
			       "this is not YAML: %s%s%s",
			       p->problem ? p->problem : "cannot be parsed", p->context ? ", " : "",
			       p->context ? p->context : "");
}

/*
 * Aliases would let a small file be a huge tree, and deep nesting costs stack: neither has a use
 * here. Told before any tree is built.
 */
static bool scan_events(struct config_load *l, const char *text, size_t len)
{
	yaml_parser_t p;
	if (!yaml_parser_initialize(&p)) {
		config_problem(l, NULL, "free some memory", "out of memory");
		return false;
	}
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	unsigned depth = 0, documents = 0, events = 0;
	for (bool end = false; !end && l->problems == 0;) {
		yaml_event_t e;
		if (!yaml_parser_parse(&p, &e)) {
			parser_problem(l, &p);
			break;
		}
		yaml_node_t place = {.start_mark = e.start_mark};
		if (e.type == YAML_ALIAS_EVENT)
			config_problem(l, &place, "write the value out",
				       "aliases (*name) are not used here");
		else if (e.type == YAML_MAPPING_START_EVENT || e.type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT)
			depth--;
		else if (e.type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
			config_problem(l, &place, "keep one", "there is a second document");
		end = e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
		if (depth > 8)
			config_problem(l, &place, "see isthmus.conf(5) for an example",
				       "this is nested too deeply");
		if (++events > 100000)
			config_problem(l, &place, "leave some out", "there are too many values");
	}
	yaml_parser_delete(&p);
	return l->problems == 0;
}

static void build_tree(struct config_load *l, const char *text, size_t len)
{
	yaml_parser_t p;
	if (!yaml_parser_initialize(&p)) {
		config_problem(l, NULL, "free some memory", "out of memory");
		return;
	}
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	if (!yaml_parser_load(&p, &l->doc))
		parser_problem(l, &p);
	else
		l->have_doc = true;
	yaml_parser_delete(&p);
	if (l->have_doc && !yaml_document_get_root_node(&l->doc))
		config_problem(l, NULL, "see isthmus.conf(5) for an example", "the file is empty");
}

/* What libcyaml refuses that the walk did not: told in its own words. */
static void say_cyaml(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	struct config_load *l = ctx;
	if (level < CYAML_LOG_ERROR)
		return;
	char text[256];
	vsnprintf(text, sizeof(text), fmt, args);
	text[strcspn(text, "\n")] = '\0';
	config_problem(l, NULL, "see isthmus.conf(5)", "%s", text);
}

static cyaml_config_t cyaml_settings(struct config_load *l)
{
	return (cyaml_config_t){
	    .log_fn = l ? say_cyaml : NULL,
	    .log_ctx = l,
	    .mem_fn = cyaml_mem,
	    .log_level = CYAML_LOG_ERROR,
	    .flags = CYAML_CFG_NO_ALIAS,
	};
}

static int load_structs(struct config_load *l, const char *text, size_t len,
			struct config_file **ret)
{
	cyaml_config_t settings = cyaml_settings(l);
	cyaml_data_t *data = NULL;
	cyaml_err_t err =
	    cyaml_load_data((const uint8_t *)text, len, &settings, &config_schema, &data, NULL);
	if (err != CYAML_OK) {
		if (l->problems == 0)
			config_problem(l, NULL, "see isthmus.conf(5)", "%s", cyaml_strerror(err));
		return -ERR_CONFIG;
	}
	*ret = (struct config_file *)data;
	return 0;
}

static int load_text(struct config_load *l, const char *text, size_t len, struct config_file **ret)
{
	struct config_file *c = NULL;
	if (!scan_events(l, text, len))
		return -ERR_CONFIG;
	build_tree(l, text, len);
	if (l->problems == 0)
		config_schema_walk(l);
	if (l->problems)
		return -ERR_CONFIG;
	int rc = load_structs(l, text, len, &c);
	rc = rc ?: config_defaults(l, c);
	if (!rc) {
		config_check_values(l, c);
		rc = l->problems ? -ERR_CONFIG : 0;
	}
	if (rc)
		config_file_free(c);
	else
		*ret = c;
	return rc;
}

int config_file_load(struct config_file **ret, const char *path,
		     void (*say)(void *arg, const char *line), void *arg)
{
	struct config_load l = {.path = path, .say = say, .arg = arg};
	char *text = NULL;
	size_t len = 0;
	int rc = read_file(path, &text, &len);
	if (rc == -EFBIG)
		config_problem(&l, NULL, "it may have 1 MiB", "the file is too big");
	else if (rc)
		config_problem(&l, NULL, "check the path and its permissions",
			       "the configuration cannot be read: %s", err_text(rc));
	if (rc)
		return rc;
	rc = load_text(&l, text, len, ret);
	if (l.problems > CONFIG_PROBLEMS_MAX) {
		char line[640];
		snprintf(line, sizeof(line),
			 "%.512s:1: %u more problems are not shown; correct the first", path,
			 l.problems - CONFIG_PROBLEMS_MAX);
		if (say)
			say(arg, line);
	}
	if (l.have_doc)
		yaml_document_delete(&l.doc);
	free(text);
	return rc;
}

void config_file_free(struct config_file *c)
{
	cyaml_config_t settings = cyaml_settings(NULL);
	if (c)
		cyaml_free(&settings, &config_schema, c, 0);
}

/* ---- finding things in it ---- */

const struct config_controller *config_controller(const struct config_file *c, const char *name)
{
	for (unsigned i = 0; i < c->controllers_count; i++)
		if (strcmp(c->controllers[i].name, name) == 0)
			return &c->controllers[i];
	return NULL;
}

const struct config_head *config_head(const struct config_file *c, const char *name)
{
	for (unsigned i = 0; i < c->heads_count; i++)
		if (strcmp(c->heads[i].name, name) == 0)
			return &c->heads[i];
	return NULL;
}

bool config_head_tls_mutual(const struct config_head *h)
{
	return strcmp(h->tls_mutual, "on") == 0;
}

bool config_head_groups(const struct config_head *h)
{
	return strcmp(h->groups, "server") == 0;
}

bool config_watchdog_restart(const struct config_file *c)
{
	return strcmp(c->array.watchdog_restart, "yes") == 0;
}

bool config_battery(const struct config_file *c)
{
	return strcmp(c->array.memory, "battery") == 0;
}

void config_path_supervisor(const struct config_file *c, char *ret)
{
	snprintf(ret, PATH_SIZE, "%s/isthmusd.sock", c->array.run_dir);
}

void config_path_admin(const struct config_file *c, const char *kind, const char *name, char *ret)
{
	snprintf(ret, PATH_SIZE, "%s/%s-%s.sock", c->array.run_dir, kind, name);
}

void config_path_channel(const struct config_file *c, const char *controller, char *ret)
{
	snprintf(ret, PATH_SIZE, "%s/channel-%s.sock", c->array.run_dir, controller);
}

void config_path_beat(const struct config_file *c, const char *head, char *ret)
{
	snprintf(ret, PATH_SIZE, "%s/head-%s.beat", c->array.memory_dir, head);
}

void config_path_segment(const struct config_file *c, const char *controller, char *ret)
{
	snprintf(ret, PATH_SIZE, "%s/cache-%s.seg", c->array.memory_dir, controller);
}

void config_path_control(const struct config_file *c, char *ret)
{
	snprintf(ret, PATH_SIZE, "%s/control.seg", c->array.memory_dir);
}
