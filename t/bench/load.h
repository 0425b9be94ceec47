
/*
 * The load generator of `make bench`: what its files share.
 *
 *   load.c          the modes
 *   load_growth.c   the modes that fill the exchange first
 *   load_nats.c     NATS's protocol
 *   load_park.c     the modes with many connections that wait
 *   load_request.c  the requests
 *   load_http.c     connections, and the responses read off them
 *   load_tls.c      the same, encrypted
 *   load_run.c      the loop, the clock, and what was measured
 */

#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>


#define MAX_CELLS   4096
#define MAX_FILES   8
#define MAX_PIDS    64
#define MAX_UIDS    3

#define PAIRS       16          /* connections that make ready */


enum { B_LENGTH, B_CHUNKED, B_CLOSE };
enum { S_HEAD, S_BODY, S_CHUNK, S_CHUNK_END, S_TRAILER };


typedef struct conn_s  conn_t;
typedef struct cell_s  cell_t;

struct conn_s {
    int          fd;
    int          cell;
    int          stream;        /* the body is an event stream */
    int          busy;          /* a response is awaited */
    int          port;
    uint32_t     from;          /* source address, 0: any */
    void        *ssl;

    int          state;
    int          status;
    int          kind;
    int          close;
    int          event;         /* a data line was seen */
    uint64_t     left;
    uint64_t     total;

    char        *keep;          /* bytes that are not a whole line yet */
    size_t       keep_len;
    size_t       keep_cap;

    char        *body;          /* a body, or a line, that came in parts */
    size_t       body_len;
    size_t       body_cap;

    const char  *out;
    size_t       out_len;
    int          polling;       /* waits for EPOLLOUT */

    char      *(*parse)(conn_t *c, char *p, char *end);   /* not HTTP */
    void       (*opened)(conn_t *c);
    void       (*done)(conn_t *c, const char *body, size_t len);
    int        (*data)(conn_t *c, const char *line, size_t len);
    void       (*got)(conn_t *c);
};

typedef struct {
    char        *bytes;
    size_t       len;
    char        *tag;           /* the 12 digits that change */
    char        *uid[MAX_UIDS]; /* those of the mailbox */
    int          nuids;
} request_t;

struct cell_s {
    int          id;
    int          step;
    int          wait;          /* what an action still waits for */
    uint64_t     t0;
    uint64_t     t1;
    uint64_t     due;
    uint64_t     seq;
    char         tag[37];
    conn_t       c[4];
    request_t    req[MAX_FILES];
};


/* the command line; load.c says which letter is which */

typedef struct {
    const char  *mode;
    const char  *addr;
    const char  *base;
    const char  *target;
    const char  *header;
    const char  *files[MAX_FILES];
    int          nfiles;
    int          pids[MAX_PIDS];
    int          npids;
    int          port;
    int          conns;
    int          total;
    int          spread;
    int          tls;
    int          kept;
    int          pause;
    int          steps;
    int          each;
    long         count;
    long         queue;
    double       seconds;
    double       warm;
    size_t       size;
    uint32_t     seed;
} options_t;


typedef struct {
    int          ep;
    int          typed;         /* a line waits on standard input */
    int          stopping;
    int          active;        /* cells with something to do */
    cell_t      *cells;
    void       (*next)(cell_t *cell);

    uint64_t     started;
    uint64_t     ops;           /* those that were measured */
    uint64_t     bytes;
    uint64_t     errors;
    uint64_t     pings;
    uint64_t     ended;         /* streams */
    char         first[256];    /* the first error */
} state_t;


extern options_t  opt;
extern state_t    st;


/* load.c */

int create(int who, int n, int conns);
void putget_requests(void);
void replay_done(conn_t *c, const char *body, size_t len);

/* load_growth.c */

void mode_spread(void);
void mode_drain(void);
void mode_deliver(void);

/* load_park.c */

extern conn_t  *parked;

void stream_open(conn_t *c, request_t *req);
void streams_await(int n);
void stream_opened(conn_t *c);
int park_open(int stream, request_t *plain);
void mode_park(void);
void mode_idle(void);

/* load_http.c */

void conn_close(conn_t *c);
void conn_send(conn_t *c, request_t *req);
void conn_flush(conn_t *c);
void conn_read(conn_t *c);

/* load_request.c */

void uid_make(char *dst, int role, int i);
void tag_make(char *dst, int id);
void request_tag(request_t *req, uint64_t seq);
void request_mailbox(request_t *req, int i);
void request_make(request_t *req, const char *method, const char *target,
    const char *accept, const char *body);
void request_id(request_t *req, const char *method, const char *target,
    int role, int i, const char *more);
char *message_make(int srole, int src, int drole, int dest, const char *kind,
    const char *tag);
void request_message(request_t *req, int srole, int src, int drole, int dest,
    const char *kind, const char *tag);
void request_publish(request_t *req, int srole, int src, int drole, int dest,
    const char *kind, const char *tag);
void request_subscribe(request_t *req, int role, int i);

/* load_nats.c */

void mode_nats(void);

/* load_tls.c */

void tls_open(conn_t *c);
void tls_close(conn_t *c);
ssize_t tls_recv(conn_t *c, char *buf, size_t size);
ssize_t tls_send(conn_t *c, const char *buf, size_t len);

/* load_run.c */

void die(const char *what);
void *need(void *p);
uint64_t now(void);
void failed(conn_t *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

void cells_make(int n, void (*next)(cell_t *),
    void (*done)(conn_t *, const char *, size_t));
void cells_free(int n);
void cell_done(cell_t *cell, uint64_t t);
void turn(uint64_t until);
void run(int cells);
double run_seconds(void);
void print_run(int cells);

#endif /* LOAD_H */
