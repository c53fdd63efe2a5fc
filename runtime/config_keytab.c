/* The keys of a head for Kerberos: what the configuration says of them, and what the file is. */
#include "runtime/config_load.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PRINCIPAL_MAX 255

/* nfs/host.example.org or nfs/host.example.org@EXAMPLE.ORG */
static bool principal_ok(const char *s)
{
	size_t n = strlen(s);
	return n == 0 || (n > 4 && n <= PRINCIPAL_MAX && strncmp(s, "nfs/", 4) == 0 &&
			  strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789._-/@") == n);
}

/* What the file holds is no error here: the other exports are served without it, and whoever
 * starts the head is told; config_keytab_look(). */
void config_keytab_check(struct config_load *l, yaml_node_t *map, const struct config_head *h)
{
	if (h->keytab[0] && h->keytab[0] != '/')
		config_problem(l, config_node_key(l, map, "keytab"), "write an absolute path",
			       "keytab `%.64s` is no path from the root", h->keytab);
	if (!principal_ok(h->principal))
		config_problem(l, config_node_key(l, map, "principal"),
			       "write it as nfs/host.example.org or nfs/host.example.org@REALM",
			       "principal `%.64s` is not one of an NFS server", h->principal);
	else if (h->principal[0] && !h->keytab[0])
		config_problem(l, config_node_key(l, map, "principal"),
			       "add `keytab:` with the file of its keys",
			       "head `%.64s` has a principal but no keytab", h->name);
}

int config_keytab_look(const struct config_head *h, char why[CONFIG_WHY_LEN])
{
	uint8_t magic[2] = {0};
	if (!h->keytab[0])
		return 0;
	int fd = open(h->keytab, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, magic, sizeof(magic));
	int rc = n < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	if (rc)
		snprintf(why, CONFIG_WHY_LEN,
			 "keytab %.256s of head %.64s cannot be read: %s; make it with `kadmin -q "
			 "\"ktadd -k FILE nfs/HOST\"`, readable for the head's user alone",
			 h->keytab, h->name, strerror(-rc));
	else if (n != 2 || magic[0] != 5 || magic[1] < 1 || magic[1] > 2)
		snprintf(why, CONFIG_WHY_LEN,
			 "%.256s, of head %.64s, is no keytab; see `klist -k %.256s`", h->keytab,
			 h->name, h->keytab);
	else
		return 0;
	return rc ? rc : -EINVAL;
}
