/* A stand-in for llama-server that is quick enough not to be what a benchmark measures.
 *
 *     fast_upstream SOCKET_PATH      listens there and on a free port of 127.0.0.1, which it prints
 *
 * One thread, one write for each piece, and the wire format of llama-server b11549, its habit included of closing the
 * connection after a streamed answer that promised to keep it. A prompt that holds `tokens=200 pace=40` is answered
 * with 200 pieces, 40 a second; pace=0 is as fast as they are taken. Each piece holds the moment at which it was
 * written: `@` and 16 digits, nanoseconds of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 4096, LARGEST_REQUEST = 1 << 20, LARGEST_PIECE = 2048, MOST_EVENTS = 512 };

#define SHARED "\"created\":1795369128,\"id\":\"chatcmpl-CA2tuIcEwu0c1DmieL1azYXj5avQwm2f\",\"model\":\"fast\"," \
               "\"system_fingerprint\":\"b11549-fast\",\"object\":\"chat.completion.chunk\""
#define ROLE "data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]," SHARED "}\n\n"
#define TIMINGS ",\"timings\":{\"cache_n\":24,\"prompt_n\":22,\"prompt_ms\":1139.598,\"prompt_per_token_ms\":51.799909," \
                "\"prompt_per_second\":19.305053,\"predicted_n\":%d,\"predicted_ms\":2587.981," \
                "\"predicted_per_token_ms\":199.075461,\"predicted_per_second\":5.023220}"

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\nX-Accel-Buffering: no\r\n"
    "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5, max=100\r\n\r\n";

static const char PROPS[] =
    "{\"total_slots\":1024,\"default_generation_settings\":{\"n_ctx\":32768},\"build_info\":\"b11549-fast\"}";
static const char MODELS[] =
    "{\"models\":[],\"object\":\"list\",\"data\":[{\"id\":\"fast\",\"created\":1795368872,\"object\":\"model\"}]}";
static const char METRICS[] = "# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 75\n";

typedef struct {
    int fd;
    bool listening, answering, blocked; /* blocked: the last piece was not taken whole */
    bool timings;                       /* wanted with each piece, as a gateway that counts wants them */
    int tokens, written;                /* pieces to write, and how many have been */
    long long gap, due;                 /* nanoseconds between two pieces, and when the next one is due */
    char *request;
    int received;
    char rest[LARGEST_PIECE]; /* of a piece that was not taken whole */
    int rest_size, rest_sent;
} Connection;

static Connection *connections[MOST_CONNECTIONS]; /* by descriptor */
static int highest, epoll;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void watch(Connection *connection, int change) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (connection->blocked ? EPOLLOUT : 0), .data.fd = connection->fd};
    epoll_ctl(epoll, change, connection->fd, &event);
}

static Connection *add(int fd, bool listening) {
    if (fd >= MOST_CONNECTIONS) {
        close(fd);
        return NULL;
    }
    Connection *connection = connections[fd] = calloc(1, sizeof *connection);
    connection->fd = fd;
    connection->listening = listening;
    highest = fd > highest ? fd : highest;
    watch(connection, EPOLL_CTL_ADD);
    return connection;
}

static void drop(Connection *connection) {
    connections[connection->fd] = NULL;
    close(connection->fd);
    free(connection->request);
    free(connection);
}

/* Send what is left of the last piece. False if the connection is gone. */
static bool flush(Connection *connection) {
    while (connection->rest_sent < connection->rest_size) {
        ssize_t sent = send(connection->fd, connection->rest + connection->rest_sent,
                            connection->rest_size - connection->rest_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent < 0) {
            connection->blocked = true;
            watch(connection, EPOLL_CTL_MOD);
            return true;
        }
        connection->rest_sent += sent;
    }
    if (connection->blocked) {
        connection->blocked = false;
        watch(connection, EPOLL_CTL_MOD);
    }
    return true;
}

static void chunk(Connection *connection, const char *payload) {
    connection->rest_sent = 0;
    connection->rest_size = sprintf(connection->rest, "%zx\r\n%s\r\n", strlen(payload), payload);
}

/* Write the next piece. False when the answer was complete and has been taken, or the connection is gone. */
static bool write_piece(Connection *connection) {
    char payload[LARGEST_PIECE - 32], timings[512] = "";
    int n = ++connection->written;
    if (n > connection->tokens + 1) return false;
    if (n > connection->tokens) {
        sprintf(payload,
            "data: {\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"delta\":{}}]," SHARED "}\n\n"
            "data: {\"choices\":[]," SHARED ",\"usage\":{\"completion_tokens\":%d,\"prompt_tokens\":46,\"total_tokens\":%d,"
            "\"prompt_tokens_details\":{\"cached_tokens\":24}}}\n\ndata: [DONE]\n\n", n - 1, n + 45);
        chunk(connection, payload);
        connection->rest_size += sprintf(connection->rest + connection->rest_size, "0\r\n\r\n");
        return flush(connection);
    }
    if (connection->timings) sprintf(timings, TIMINGS, n);
    sprintf(payload, "%sdata: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\" @%016lld\"}}]," SHARED "%s}\n\n",
            n == 1 ? ROLE : "", now() % 10000000000000000LL, timings);
    chunk(connection, payload);
    return flush(connection);
}

static void answer_whole(Connection *connection, const char *type, const char *body) {
    connection->rest_sent = 0;
    connection->rest_size = sprintf(connection->rest,
        "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
        type, strlen(body), body);
    flush(connection);
    drop(connection);
}

static int asked(const char *body, const char *name, int otherwise) {
    const char *found = strstr(body, name);
    return found ? atoi(found + strlen(name)) : otherwise;
}

static void begin_answer(Connection *connection, const char *body) {
    int pace = asked(body, "pace=", 0);
    connection->tokens = asked(body, "tokens=", 16);
    connection->timings = strstr(body, "\"timings_per_token\":true") != NULL;
    connection->gap = pace ? 1000000000LL / pace : 0;
    connection->due = now();
    connection->answering = true;
    memcpy(connection->rest, HEAD, sizeof HEAD - 1);
    connection->rest_sent = 0;
    connection->rest_size = sizeof HEAD - 1;
    if (!flush(connection)) drop(connection);
}

/* Read what there is, and begin the answer when the request is complete. */
static void read_request(Connection *connection) {
    if (!connection->request) connection->request = malloc(LARGEST_REQUEST + 1);
    ssize_t size = recv(connection->fd, connection->request + connection->received,
                        LARGEST_REQUEST - connection->received, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        drop(connection); /* the client has left: nothing more is generated for it */
        return;
    }
    if (connection->answering) return;
    connection->received += size;
    connection->request[connection->received] = 0;
    char *body = strstr(connection->request, "\r\n\r\n");
    if (!body) return;
    char *length = strcasestr(connection->request, "\r\ncontent-length:");
    body += 4;
    if (length && length < body && connection->received < body - connection->request + atoi(length + 17)) return;
    if (!strncmp(connection->request, "POST", 4)) begin_answer(connection, body);
    else if (strstr(connection->request, "/props ")) answer_whole(connection, "application/json", PROPS);
    else if (strstr(connection->request, "/models ")) answer_whole(connection, "application/json", MODELS);
    else if (strstr(connection->request, "/metrics ")) answer_whole(connection, "text/plain", METRICS);
    else answer_whole(connection, "application/json", "{\"status\":\"ok\"}");
}

static void take_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on the Unix socket, which needs none */
        add(fd, false);
    }
}

static void listen_to(int fd, void *address, socklen_t size) {
    if (bind(fd, address, size) || listen(fd, 1024)) {
        perror("fast_upstream");
        exit(1);
    }
    add(fd, true);
}

/* Write what is due, one piece for each stream, and return the nanoseconds until more is; -1 for none. */
static long long write_due(void) {
    long long next = -1, time = now();
    for (int fd = 0; fd <= highest; fd++) {
        Connection *connection = connections[fd];
        if (!connection || !connection->answering || connection->blocked) continue;
        if (connection->due <= time) {
            if (!write_piece(connection)) {
                drop(connection);
                continue;
            }
            if (connection->gap && connection->written <= connection->tokens) connection->due += connection->gap;
            if (connection->blocked) continue;
        }
        long long wait = connection->due - time;
        wait = wait < 0 ? 0 : wait;
        next = next < 0 || wait < next ? wait : next;
    }
    return next;
}

int main(int count, char **arguments) {
    if (count != 2) return fprintf(stderr, "usage: fast_upstream SOCKET_PATH\n"), 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    strncpy(path.sun_path, arguments[1], sizeof path.sun_path - 1);
    listen_to(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), &path, sizeof path);
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof port;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    listen_to(listener, &port, size);
    getsockname(listener, (struct sockaddr *)&port, &size);
    printf("%d\n", ntohs(port.sin_port));
    fflush(stdout);

    static struct epoll_event events[MOST_EVENTS];
    for (;;) {
        long long wait = write_due();
        struct timespec patience = {wait / 1000000000, wait % 1000000000};
        int ready = epoll_pwait2(epoll, events, MOST_EVENTS, wait < 0 ? NULL : &patience, NULL);
        for (int i = 0; i < ready; i++) {
            Connection *connection = connections[events[i].data.fd];
            if (!connection) continue;
            if (connection->listening) take_all(connection->fd);
            else if (events[i].events & EPOLLOUT && !flush(connection)) drop(connection);
            else if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) read_request(connection);
        }
    }
}
