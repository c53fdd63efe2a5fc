/* Sockets under OpenSSL: what it is told when nothing is there, nothing goes out, or the peer left.
 */
#include <check.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/tls_socket.h"

static int pair[2];
static struct tls_socket sock;
static BIO_METHOD *method;
static SSL_CTX *ctx;
static SSL *ssl;

static void up(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	sock = (struct tls_socket){.fd = pair[0], .budget = TLS_SOCKET_UNBOUNDED};
	method = tls_socket_method();
	ctx = SSL_CTX_new(TLS_method());
	ssl = SSL_new(ctx);
	ck_assert(method && ssl && tls_socket_attach(ssl, method, &sock));
}

static void down(void)
{
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	BIO_meth_free(method);
	close(pair[0]);
	close(pair[1]);
}

START_TEST(nothing_is_there)
{
	char buf[16];
	BIO *b = SSL_get_rbio(ssl);
	ck_assert_int_eq(BIO_read(b, buf, sizeof(buf)), -1);
	ck_assert(BIO_should_retry(b) && BIO_should_read(b));
	ck_assert_int_eq(write(pair[1], "abc", 3), 3);
	ck_assert_int_eq(BIO_read(b, buf, sizeof(buf)), 3);
	ck_assert(!BIO_should_retry(b));
	close(pair[1]);
	ck_assert_int_eq(BIO_read(b, buf, sizeof(buf)), 0);
	ck_assert(!BIO_should_retry(b));
	pair[1] = dup(0);
}
END_TEST

START_TEST(a_budget_is_kept)
{
	char buf[16];
	BIO *b = SSL_get_rbio(ssl);
	ck_assert_int_eq(write(pair[1], "0123456789", 10), 10);
	sock.budget = 7;
	ck_assert_int_eq(BIO_read(b, buf, 4), 4);
	ck_assert_int_eq(BIO_read(b, buf, sizeof(buf)), 3);
	ck_assert_mem_eq(buf, "456", 3);
	ck_assert_int_eq(BIO_read(b, buf, sizeof(buf)), -1);
	ck_assert(BIO_should_retry(b));
	sock.budget = TLS_SOCKET_UNBOUNDED;
	ck_assert_int_eq(BIO_read(b, buf, sizeof(buf)), 3);
	ck_assert_uint_eq(sock.budget, TLS_SOCKET_UNBOUNDED);
}
END_TEST

/* SIGPIPE would end the test. */
START_TEST(the_peer_has_left)
{
	BIO *b = SSL_get_wbio(ssl);
	ck_assert_int_eq(BIO_write(b, "x", 1), 1);
	ck_assert_int_eq(BIO_flush(b), 1);
	close(pair[1]);
	ck_assert_int_eq(BIO_write(b, "x", 1), -1);
	ck_assert(!BIO_should_retry(b));
	pair[1] = dup(0);
}
END_TEST

START_TEST(no_room)
{
	static char buf[1 << 20];
	BIO *b = SSL_get_wbio(ssl);
	int n, i = 0;
	while ((n = BIO_write(b, buf, sizeof(buf))) > 0 && i < 1000)
		i++;
	ck_assert_int_eq(n, -1);
	ck_assert(BIO_should_retry(b) && BIO_should_write(b));
}
END_TEST

/* Certificates are read again for years: nothing runs out. */
START_TEST(many_methods)
{
	for (int i = 0; i < 1000; i++) {
		BIO_METHOD *m = tls_socket_method();
		SSL *s = SSL_new(ctx);
		struct tls_socket k = {.fd = pair[0], .budget = 1};
		char c;
		ck_assert(m && s && tls_socket_attach(s, m, &k));
		ck_assert_int_eq(BIO_method_type(SSL_get_rbio(s)), BIO_TYPE_SOURCE_SINK);
		ck_assert_int_eq(write(pair[1], "z", 1), 1);
		ck_assert_int_eq(BIO_read(SSL_get_rbio(s), &c, 1), 1);
		SSL_free(s);
		BIO_meth_free(m);
	}
}
END_TEST

/* What waits for an answer here would never end: the key is refused, standard input not read. */
START_TEST(encrypted_keys_are_refused)
{
	char path[] = "/tmp/isthmus.test.key.XXXXXX", line[16];
	int fd = mkstemp(path), in[2];
	FILE *f = fdopen(fd, "w");
	EVP_PKEY *key = EVP_EC_gen("P-256");
	ck_assert(f && key);
	ck_assert_int_eq(PEM_write_PrivateKey(f, key, EVP_aes_256_cbc(),
					      (const unsigned char *)"secret", 6, NULL, NULL),
			 1);
	fclose(f);
	EVP_PKEY_free(key);
	ck_assert(pipe(in) == 0 && write(in[1], "secret\n", 7) == 7 && dup2(in[0], 0) == 0);
	tls_refuse_passphrases(ctx);
	ck_assert_int_ne(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1);
	ck_assert_int_eq(read(0, line, sizeof(line)), 7);
	ERR_clear_error();
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tls_socket");
	TCase *c = tcase_create("socket");
	tcase_add_checked_fixture(c, up, down);
	tcase_add_test(c, nothing_is_there);
	tcase_add_test(c, a_budget_is_kept);
	tcase_add_test(c, the_peer_has_left);
	tcase_add_test(c, no_room);
	tcase_add_test(c, many_methods);
	tcase_add_test(c, encrypted_keys_are_refused);
	suite_add_tcase(s, c);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
