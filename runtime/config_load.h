/*
 * Inside of the configuration loader: the file as a tree of libyaml nodes
 * (which know their lines) beside the structs that libcyaml filled.
 */
#ifndef ISTHMUS_RUNTIME_CONFIG_LOAD_H
#define ISTHMUS_RUNTIME_CONFIG_LOAD_H

#include <cyaml/cyaml.h>
#include <yaml.h>
#include "runtime/config_file.h"

#define CONFIG_SIZE_MAX	       (1024 * 1024)
#define CONFIG_PROBLEMS_MAX    50 /* told; the rest is counted */
#define CONFIG_CONTROLLERS_MAX 16
#define CONFIG_HEADS_MAX       64
#define CONFIG_DISKS_MAX       256
#define CONFIG_PORTALS_MAX     16 /* as many as the target listens on */
#define CONFIG_CHAP_MAX	       8
#define CONFIG_PIN_MAX	       256
#define CONFIG_NAME_MAX	       31
#define CONFIG_TEXT_MAX	       1024
#define CONFIG_LINKS_MAX       8
#define CONFIG_PORTS_MAX                                                                           \
	(CONFIG_CONTROLLERS_MAX * (CONFIG_PORTALS_MAX + CONFIG_LINKS_MAX) + CONFIG_HEADS_MAX * 2)

struct config_load {
	const char *path;
	void (*say)(void *arg, const char *line);
	void *arg;
	unsigned problems;
	yaml_document_t doc;
	bool have_doc;
};

extern const cyaml_schema_value_t config_schema;

/* One line for the admin; node says where (NULL: line 1). */
void config_problem(struct config_load *l, const yaml_node_t *node, const char *remedy,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The value of a key, member i of a list; NULL when there is none, and of NULL. */
yaml_node_t *config_node_key(struct config_load *l, yaml_node_t *map, const char *key);
yaml_node_t *config_node_item(struct config_load *l, yaml_node_t *list, unsigned i);

/* Every place where the tree does not fit the schema is told. */
void config_schema_walk(struct config_load *l);
/* Fills defaults, then tells every wrong value, duplicate and dangling reference. -ENOMEM. */
int config_defaults(struct config_load *l, struct config_file *c);
void config_check_values(struct config_load *l, struct config_file *c);
void config_keytab_check(struct config_load *l, yaml_node_t *map, const struct config_head *h);

/* Ports that are taken, so that nothing takes one twice. */
struct config_port {
	char address[64];
	unsigned port;
	const char *what;
	yaml_node_t *node;
};
struct config_ports {
	unsigned n;
	struct config_port p[CONFIG_PORTS_MAX];
};
void config_port_take(struct config_load *l, struct config_ports *ps, const char *address,
		      unsigned port, const char *what, yaml_node_t *node);
/* "ADDRESS:PORT" or "[ADDRESS]:PORT", numeric. */
bool config_split_address(const char *s, char address[64], unsigned *port);

/* config_link.c: keys of controllers with a partner. */
int config_link_defaults(struct config_load *l, struct config_file *f, unsigned i);
void config_link_check(struct config_load *l, struct config_file *f, unsigned i,
		       struct config_ports *ps);

#endif
