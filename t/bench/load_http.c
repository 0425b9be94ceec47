
/*
 * Connections of the load generator, and the responses read off them.
 *
 * Everything is received into one buffer and read in place; a connection keeps
 * bytes of its own only where a line, or a body, came in parts.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"


#define RBUF  (1024 * 1024)


static char  rbuf[RBUF];


static void
append(char **buf, size_t *len, size_t *cap, const char *p, size_t n)
{
    if (*len + n > *cap) {
        *cap = (*len + n) * 2;
        *buf = need(realloc(*buf, *cap));
    }

    memcpy(*buf + *len, p, n);
    *len += n;
}


void
conn_close(conn_t *c)
{
    if (c->ssl) {
        tls_close(c);
    }

    if (c->fd != -1) {
        close(c->fd);
        c->fd = -1;
    }

    c->state = S_HEAD;
    c->keep_len = 0;
    c->body_len = 0;
    c->event = 0;
    c->polling = 0;
}


static void
conn_open(conn_t *c)
{
    int                 fd, on;
    socklen_t           len;
    struct epoll_event  ev;
    struct sockaddr_in  sin;

    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd == -1) {
        die("socket");
    }

    on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;

    if (c->from) {
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
        sin.sin_addr.s_addr = htonl(c->from);
        if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
            die("bind");
        }
    }

    sin.sin_addr.s_addr = inet_addr(opt.addr);
    sin.sin_port = htons(opt.port);

    if (connect(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
        die("connect");
    }

    len = sizeof(sin);
    getsockname(fd, (struct sockaddr *) &sin, &len);
    c->port = ntohs(sin.sin_port);
    c->fd = fd;
    c->state = S_HEAD;

    if (opt.tls) {
        tls_open(c);
    }

    fcntl(fd, F_SETFL, O_NONBLOCK);

    ev.events = EPOLLIN;
    ev.data.ptr = c;
    if (epoll_ctl(st.ep, EPOLL_CTL_ADD, fd, &ev) == -1) {
        die("epoll_ctl");
    }
}


static void
conn_watch(conn_t *c, int out)
{
    struct epoll_event  ev;

    ev.events = EPOLLIN | (out ? EPOLLOUT : 0);
    ev.data.ptr = c;
    epoll_ctl(st.ep, EPOLL_CTL_MOD, c->fd, &ev);
    c->polling = out;
}


void
conn_flush(conn_t *c)
{
    ssize_t  n;

    while (c->out_len) {
        n = c->ssl ? tls_send(c, c->out, c->out_len)
                   : send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);

        if (n == -1) {
            if (errno == EAGAIN) {
                if (!c->polling) {
                    conn_watch(c, 1);
                }
                return;
            }

            failed(c, "send: %s", strerror(errno));
            c->out_len = 0;
            return;
        }

        c->out += n;
        c->out_len -= n;
    }

    if (c->polling) {
        conn_watch(c, 0);
    }
}


void
conn_send(conn_t *c, request_t *req)
{
    if (c->fd == -1) {
        conn_open(c);
    }

    c->busy = 1;
    c->out = req->bytes;
    c->out_len = req->len;
    conn_flush(c);
}


/* reading */

static int
head_parse(conn_t *c, char *p, char *end)
{
    char  *line, *v;

    c->status = 0;
    c->kind = B_CLOSE;
    c->close = 0;
    c->total = 0;
    c->body_len = 0;

    if (end - p < 12 || memcmp(p, "HTTP/1.", 7) != 0) {
        return -1;
    }

    c->status = atoi(p + 9);

    for (line = p; line < end; line = v + 1) {
        v = memchr(line, '\n', end - line);
        if (v == NULL) {
            break;
        }

        switch (line[0] | 0x20) {

        case 'c':
            if (strncasecmp(line, "Content-Length:", 15) == 0) {
                if (c->kind != B_CHUNKED) {
                    c->kind = B_LENGTH;
                }
                c->left = strtoull(line + 15, NULL, 10);

            } else if (strncasecmp(line, "Connection: close", 17) == 0) {
                c->close = 1;
            }
            break;

        case 't':
            if (strncasecmp(line, "Transfer-Encoding: chunked", 26) == 0) {
                c->kind = B_CHUNKED;
            }
            break;
        }
    }

    if (c->status == 204 || c->status == 304) {
        c->kind = B_LENGTH;
        c->left = 0;
    }

    return 0;
}


static void
line_event(conn_t *c, const char *p, size_t len)
{
    if (len && p[len - 1] == '\r') {
        len--;
    }

    if (len == 0) {
        if (c->event) {
            c->event = 0;
            c->got(c);
        }
        return;
    }

    if (p[0] == ':') {
        st.pings++;

    } else if (len > 5 && memcmp(p, "data:", 5) == 0) {
        c->event = c->data(c, p + 5, len - 5);
    }
}


static void
body_take(conn_t *c, char *p, size_t n)
{
    char  *nl;

    c->total += n;

    if (!c->stream || c->status != 200) {
        if (c->body_len < 65536) {
            append(&c->body, &c->body_len, &c->body_cap, p, n);
        }
        return;
    }

    while (n) {
        nl = memchr(p, '\n', n);
        if (nl == NULL) {
            append(&c->body, &c->body_len, &c->body_cap, p, n);
            return;
        }

        if (c->body_len) {
            append(&c->body, &c->body_len, &c->body_cap, p, nl - p);
            line_event(c, c->body, c->body_len);
            c->body_len = 0;

        } else {
            line_event(c, p, nl - p);
        }

        n -= nl + 1 - p;
        p = nl + 1;
    }
}


static void
response_done(conn_t *c, const char *body, size_t len)
{
    c->state = S_HEAD;
    c->busy = 0;

    if (c->close || c->kind == B_CLOSE) {
        conn_close(c);
    }

    st.bytes += c->total;
    c->done(c, body, len);
}


/* returns where the bytes that were not understood yet begin */

static char *
parse(conn_t *c, char *p, char *end)
{
    char    *nl;
    size_t   n;

    while (p < end) {

        switch (c->state) {

        case S_HEAD:
            nl = memmem(p, end - p, "\r\n\r\n", 4);
            if (nl == NULL) {
                return p;
            }

            if (head_parse(c, p, nl + 2) == -1) {
                failed(c, "not a response: %.60s", p);
                return end;
            }

            p = nl + 4;

            if (c->status == 100) {
                continue;
            }

            if (c->opened) {
                c->opened(c);
            }

            c->state = (c->kind == B_CHUNKED) ? S_CHUNK : S_BODY;

            if (c->kind == B_LENGTH) {
                n = end - p;

                if (n >= c->left && !c->stream) {
                    /* the whole body is here: no copy */
                    n = c->left;
                    c->total = n;
                    response_done(c, p, n);
                    p += n;

                } else if (c->left == 0) {
                    response_done(c, c->body, 0);
                }
            }

            break;

        case S_BODY:
            n = end - p;

            if (c->kind == B_LENGTH && n > c->left) {
                n = c->left;
            }

            body_take(c, p, n);
            p += n;

            if (c->kind == B_LENGTH) {
                c->left -= n;
                if (c->left == 0) {
                    response_done(c, c->body, c->body_len);
                }
            }

            break;

        case S_CHUNK:
            nl = memchr(p, '\n', end - p);
            if (nl == NULL) {
                return p;
            }

            c->left = strtoull(p, NULL, 16);
            c->state = c->left ? S_CHUNK_END : S_TRAILER;
            p = nl + 1;

            break;

        case S_CHUNK_END:
            /* left counts the chunk's data; then its line end */
            if (c->left) {
                n = end - p;
                if (n > c->left) {
                    n = c->left;
                }

                body_take(c, p, n);
                c->left -= n;
                p += n;
                break;
            }

            if (end - p < 2) {
                return p;
            }

            p += 2;
            c->state = S_CHUNK;
            break;

        case S_TRAILER:
            nl = memchr(p, '\n', end - p);
            if (nl == NULL) {
                return p;
            }

            n = nl - p;
            p = nl + 1;

            if (n <= 1) {
                response_done(c, c->body, c->body_len);
            }

            break;
        }
    }

    return end;
}


void
conn_read(conn_t *c)
{
    int      fd;
    char    *p, *end;
    ssize_t  n;

    if (c->keep_len) {
        memcpy(rbuf, c->keep, c->keep_len);
    }

    n = c->ssl ? tls_recv(c, rbuf + c->keep_len, RBUF - c->keep_len)
               : recv(c->fd, rbuf + c->keep_len, RBUF - c->keep_len, 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        if (c->stream) {
            st.ended++;
        }

        if (c->busy && c->state == S_BODY && c->kind == B_CLOSE && n == 0) {
            response_done(c, c->body, c->body_len);

        } else if (c->busy) {
            failed(c, "connection ended within a response (%s)",
                   n ? strerror(errno) : "end");
            conn_close(c);

        } else {
            conn_close(c);
        }

        return;
    }

    fd = c->fd;
    end = rbuf + c->keep_len + n;
    c->keep_len = 0;

    p = c->parse ? c->parse(c, rbuf, end) : parse(c, rbuf, end);

    if (p < end && c->fd == fd) {
        if (end - p == RBUF) {
            failed(c, "a line longer than the buffer");
            conn_close(c);
            return;
        }

        append(&c->keep, &c->keep_len, &c->keep_cap, p, end - p);
    }
}
