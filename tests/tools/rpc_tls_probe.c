/*
 * rpc_tls_probe ADDRESS PORT PATH plain | tls CA [CERT KEY]
 *
 * Mounts PATH by MOUNT version 3, in plain or under TLS (RFC 9289), and prints one line:
 * "plain mount=0", "tls server=NAME mount=13", "no TLS", "handshake failed". Exit status 0 when it
 * got so far, 1 when the connection broke.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/rpc/xdr.h"
#include "runtime/check.h"

static int fd;
static SSL *ssl;

static void die(const char *what)
{
	fprintf(stderr, "rpc_tls_probe: %s\n", what);
	exit(1);
}

static bool put(const void *p, size_t n)
{
	return ssl ? SSL_write(ssl, p, (int)n) == (int)n : send(fd, p, n, 0) == (ssize_t)n;
}

static bool get(void *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t k = ssl ? SSL_read(ssl, (char *)p + at, (int)(n - at))
				: recv(fd, (char *)p + at, n - at, 0);
		if (k <= 0)
			return false;
		at += (size_t)k;
	}
	return true;
}

/* One call with a flavour and no credentials; the reply without its mark. */
static size_t call(uint32_t prog, uint32_t proc, uint32_t flavor, const char *path, uint8_t *reply,
		   size_t size)
{
	uint8_t msg[2048];
	struct xdr_out x = xdr_out_of(msg + 4, sizeof(msg) - 4);
	const uint32_t head[] = {77, 0, 2, prog, 3, proc, flavor, 0, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	if (path)
		xdr_put_string(&x, path);
	size_t n = xdr_out_len(&x);
	be32_put(msg, 0x80000000u | (uint32_t)n);
	if (x.full || !put(msg, n + 4) || !get(msg, 4))
		die("the connection ended");
	n = be32_get(msg) & 0x7fffffff;
	if (n < 20 || n > size || !get(reply, n))
		die("the connection ended in a reply");
	return n;
}

static bool start_tls(const char *ca, const char *cert, const char *key)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	if (!c || SSL_CTX_load_verify_locations(c, ca, NULL) != 1)
		die("cannot read the CA");
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_alpn_protos(c, (const unsigned char *)"\6sunrpc", 7);
	if (cert && (SSL_CTX_use_certificate_file(c, cert, SSL_FILETYPE_PEM) != 1 ||
		     SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM) != 1))
		die("cannot read the certificate");
	SSL *s = SSL_new(c);
	SSL_set_fd(s, fd);
	if (SSL_connect(s) != 1)
		return false;
	ssl = s;
	return true;
}

static void print_server(void)
{
	char name[128] = "";
	X509 *x = SSL_get1_peer_certificate(ssl);
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof(name));
	printf("tls server=%s ", name);
}

int main(int argc, char **argv)
{
	uint8_t reply[4096];
	struct sockaddr_in sa = {.sin_family = AF_INET};
	struct timeval tv = {.tv_sec = 20};
	signal(SIGPIPE, SIG_IGN);
	if (argc < 5 || inet_pton(AF_INET, argv[1], &sa.sin_addr) != 1)
		die("ADDRESS PORT PATH plain | tls CA [CERT KEY]");
	sa.sin_port = htons((uint16_t)atoi(argv[2]));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		die("cannot connect");
	if (strcmp(argv[4], "plain") == 0) {
		printf("plain ");
	} else {
		if (argc < 6)
			die("which CA?");
		size_t n = call(100003, 0, 7, NULL, reply, sizeof(reply));
		if (n < 32 || memcmp(reply + 20, "STARTTLS", 8) != 0) {
			puts("no TLS");
			return 0;
		}
		if (!start_tls(argv[5], argc > 7 ? argv[6] : NULL, argc > 7 ? argv[7] : NULL)) {
			puts("handshake failed");
			return 0;
		}
		print_server();
	}
	if (call(100005, 1, 0, argv[3], reply, sizeof(reply)) < 28)
		die("a strange answer to MNT");
	printf("mount=%u\n", be32_get(reply + 24));
	return 0;
}
