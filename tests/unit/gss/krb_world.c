#include "tests/unit/gss/krb_world.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/check.h"

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static uint16_t free_port(void)
{
	struct sockaddr_in sa = loopback(0);
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	ASSERT(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static void put_file(const struct krb_world *w, const char *name, const char *fmt, ...)
{
	char path[128];
	va_list ap;
	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	FILE *f = fopen(path, "w");
	ASSERT(f);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	ASSERT(fclose(f) == 0);
}

static void configure(const struct krb_world *w)
{
	char path[128];
	put_file(w, "krb5.conf",
		 "[libdefaults]\n default_realm = " KRB_REALM "\n dns_lookup_kdc = false\n"
		 " dns_lookup_realm = false\n dns_canonicalize_hostname = false\n rdns = false\n"
		 " udp_preference_limit = 1\n"
		 "[realms]\n " KRB_REALM " = {\n  kdc = 127.0.0.1:%u\n }\n"
		 "[domain_realm]\n localhost = " KRB_REALM "\n",
		 w->port);
	put_file(w, "kdc.conf",
		 "[kdcdefaults]\n kdc_listen = \"\"\n kdc_tcp_listen = 127.0.0.1:%u\n"
		 "[realms]\n " KRB_REALM " = {\n  database_name = %s/db\n"
		 "  key_stash_file = %s/stash\n  acl_file = %s/acl\n }\n"
		 "[logging]\n kdc = FILE:%s/kdc.log\n default = FILE:%s/krb.log\n",
		 w->port, w->dir, w->dir, w->dir, w->dir, w->dir);
	snprintf(path, sizeof(path), "%s/krb5.conf", w->dir);
	setenv("KRB5_CONFIG", path, 1);
	snprintf(path, sizeof(path), "%s/kdc.conf", w->dir);
	setenv("KRB5_KDC_PROFILE", path, 1);
	setenv("KRB5RCACHEDIR", w->dir, 1);
	setenv("KRB5CCNAME", "MEMORY:none", 1);
}

void krb_shell(const struct krb_world *w, const char *command)
{
	char text[1024];
	snprintf(text, sizeof(text), "PATH=$PATH:/usr/sbin:/sbin; cd %s; { %s; } >>out 2>&1",
		 w->dir, command);
	if (system(text) == 0)
		return;
	fprintf(stderr, "failed: %s\n", text);
	snprintf(text, sizeof(text), "cat %s/out >&2", w->dir);
	if (system(text))
		fprintf(stderr, "no output\n");
	abort();
}

static void serve(struct krb_world *w)
{
	struct sockaddr_in sa = loopback(w->port);
	w->kdc = fork();
	ASSERT(w->kdc >= 0);
	if (w->kdc == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execl("/usr/sbin/krb5kdc", "krb5kdc", "-n", NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		int rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
		close(fd);
		if (rc == 0)
			return;
		ASSERT(waitpid(w->kdc, NULL, WNOHANG) == 0);
		usleep(10000);
	}
	ASSERT(!"the KDC does not answer");
}

void krb_up(struct krb_world *w)
{
	memset(w, 0, sizeof(*w));
	strcpy(w->dir, "/tmp/isthmus-krb-XXXXXX");
	ASSERT(mkdtemp(w->dir));
	snprintf(w->keytab, sizeof(w->keytab), "%s/nfs.keytab", w->dir);
	snprintf(w->clients, sizeof(w->clients), "%s/clients.keytab", w->dir);
	w->port = free_port();
	configure(w);
	krb_shell(w, "kdb5_util create -s -W -r " KRB_REALM " -P master");
	krb_shell(w, "for p in nfs/localhost nfs/other alice bob carol daemon host/client; do "
		     "kadmin.local -q \"addprinc -randkey $p\" || exit 1; done");
	krb_shell(w, "kadmin.local -q 'ktadd -k nfs.keytab nfs/localhost'");
	krb_shell(w, "for p in alice bob carol daemon host/client; do "
		     "kadmin.local -q \"ktadd -k clients.keytab $p\" || exit 1; done");
	serve(w);
}

void krb_down(struct krb_world *w)
{
	char text[128];
	kill(w->kdc, SIGTERM);
	waitpid(w->kdc, NULL, 0);
	snprintf(text, sizeof(text), "rm -rf %s", w->dir);
	ASSERT(system(text) == 0);
}
