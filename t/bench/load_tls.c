
/*
 * TLS for the connections of the load generator: nobody's certificate is
 * looked at, and the handshake is waited for.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "load.h"


static SSL_CTX  *ctx;


void
tls_open(conn_t *c)
{
    SSL  *ssl;

    if (ctx == NULL) {
        ctx = need(SSL_CTX_new(TLS_client_method()));
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
    }

    ssl = need(SSL_new(ctx));

    if (SSL_set_fd(ssl, c->fd) != 1 || SSL_connect(ssl) != 1) {
        ERR_print_errors_fp(stderr);
        exit(2);
    }

    c->ssl = ssl;
}


void
tls_close(conn_t *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
}


/* as recv() and send() return: what OpenSSL waits for is EAGAIN */

static ssize_t
tls_result(conn_t *c, int n)
{
    if (n > 0) {
        return n;
    }

    switch (SSL_get_error(c->ssl, n)) {

    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;

    case SSL_ERROR_ZERO_RETURN:
        return 0;

    default:
        errno = errno ? errno : EIO;
        return -1;
    }
}


ssize_t
tls_recv(conn_t *c, char *buf, size_t size)
{
    int     n;
    size_t  len;

    /* a record at a time, 16k at most */

    for (len = 0; len < size; len += n) {
        n = SSL_read(c->ssl, buf + len, size - len);

        if (n <= 0) {
            return len ? (ssize_t) len : tls_result(c, n);
        }
    }

    return len;
}


ssize_t
tls_send(conn_t *c, const char *buf, size_t len)
{
    return tls_result(c, SSL_write(c->ssl, buf, len));
}
