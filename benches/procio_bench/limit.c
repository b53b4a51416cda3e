/* The limit: what a plain C program needs for the same work.
 *
 *   limit spawn COUNT MEGABYTES PROGRAM       spawn and wait, per child
 *   limit held COUNT PROGRAM                  time inside posix_spawn, per call
 *   limit echo COUNT WIDTH PROGRAM            `PROGRAM hi`, two pipes, WIDTH at a time
 *   limit pingpong CHILDREN ROUNDS BYTES PROGRAM
 *   limit stop COUNT TIMES PROGRAM ARGUMENT   end COUNT sessions at once, TIMES times
 *
 * Results are lines of nanoseconds; anything unexpected ends the program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 64

extern char **environ;

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static pid_t start(char *const argv[], posix_spawn_file_actions_t *actions)
{
    pid_t pid;
    errno = posix_spawn(&pid, argv[0], actions, NULL, argv, environ);
    if (errno)
        fail("posix_spawn");
    return pid;
}

static void reap(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid");
    if (status != 0) {
        fprintf(stderr, "status %d\n", status);
        exit(1);
    }
}

static void make_pipe(int ends[2])
{
    if (pipe(ends) || fcntl(ends[0], F_SETFD, FD_CLOEXEC) ||
        fcntl(ends[1], F_SETFD, FD_CLOEXEC))
        fail("pipe");
}

/* Start with two pipes; fd a and b of the child are ends pa and pb. */
static pid_t start_piped(char *const argv[], int a, int *pa, int b, int *pb)
{
    posix_spawn_file_actions_t actions;
    int ends_a[2], ends_b[2];
    pid_t pid;
    make_pipe(ends_a);
    make_pipe(ends_b);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends_a[a != 0], a);
    posix_spawn_file_actions_adddup2(&actions, ends_b[b != 0], b);
    pid = start(argv, &actions);
    posix_spawn_file_actions_destroy(&actions);
    close(ends_a[a != 0]);
    close(ends_b[b != 0]);
    *pa = ends_a[a == 0];
    *pb = ends_b[b == 0];
    return pid;
}

static void spawn_all(int count, char *const argv[])
{
    for (int i = 0; i < count; i++)
        reap(start(argv, NULL));
}

static void bench_spawn(int count, int megabytes, char *program)
{
    char *argv[] = {program, NULL};
    for (long i = 0; i < megabytes * 256L; i++) {
        char *block = malloc(4080);
        if (!block)
            fail("malloc");
        memset(block, 'x', 4080);
    }
    spawn_all(10, argv);
    for (int i = 0; i < count; i++) {
        long long begin = now();
        spawn_all(1, argv);
        printf("%lld\n", now() - begin);
    }
}

static void bench_held(int count, char *program)
{
    char *argv[] = {program, NULL};
    spawn_all(10, argv);
    for (int i = 0; i < count; i++) {
        long long begin = now();
        pid_t pid = start(argv, NULL);
        printf("%lld\n", now() - begin);
        reap(pid);
    }
}

struct slot {
    pid_t pid;
    int fds[2], open;
    size_t got;
    char text[64];
};

/* Take what one pipe has; close it at its end. */
static void take(struct slot *slot, int which)
{
    ssize_t n = read(slot->fds[which], slot->text + slot->got,
                     sizeof slot->text - slot->got);
    if (n < 0)
        fail("read");
    slot->got += n;
    if (n == 0) {
        close(slot->fds[which]);
        slot->fds[which] = -1;
        slot->open--;
    }
}

static void finish(struct slot *slot)
{
    reap(slot->pid);
    if (slot->got != 3 || memcmp(slot->text, "hi\n", 3)) {
        fprintf(stderr, "wrong output\n");
        exit(1);
    }
    slot->pid = 0;
}

static void echo_all(int count, int width, char *const argv[])
{
    static struct slot slots[MOST];
    struct pollfd polls[2 * MOST];
    int started = 0, done = 0;
    while (done < count) {
        for (int i = 0; i < width; i++) {
            struct slot *s = &slots[i];
            if (!s->pid && started < count) {
                s->pid = start_piped(argv, 1, &s->fds[0], 2, &s->fds[1]);
                s->open = 2;
                s->got = 0;
                started++;
            }
            for (int w = 0; w < 2; w++) {
                polls[2 * i + w].fd = s->pid ? s->fds[w] : -1;
                polls[2 * i + w].events = POLLIN;
                polls[2 * i + w].revents = 0;
            }
        }
        if (poll(polls, 2 * width, -1) < 0)
            fail("poll");
        for (int i = 0; i < 2 * width; i++)
            if (polls[i].revents) {
                take(&slots[i / 2], i % 2);
                if (!slots[i / 2].open) {
                    finish(&slots[i / 2]);
                    done++;
                }
            }
    }
}

static void bench_echo(int count, int width, char *program)
{
    char *argv[] = {program, "hi", NULL};
    long long begin;
    echo_all(10, width, argv);
    begin = now();
    echo_all(count, width, argv);
    printf("%lld\n", now() - begin);
}

struct player {
    pid_t pid;
    int in, out, rounds;
    size_t got;
};

static void ping(struct player *p, const char *message, size_t size)
{
    if (write(p->in, message, size) != (ssize_t)size)
        fail("write");
    p->got = 0;
}

/* Read an answer; give 1 when it is complete. */
static int pong(struct player *p, const char *message, size_t size)
{
    char answer[4096];
    ssize_t n = read(p->out, answer, size - p->got);
    if (n <= 0 || memcmp(answer, message + p->got, n))
        fail("wrong echo");
    p->got += n;
    return p->got == size;
}

static void play(struct player *players, int many, int rounds, size_t size)
{
    static char message[4096];
    struct pollfd polls[MOST];
    int left = many;
    memset(message, 'p', sizeof message);
    if (many == 1) { /* a blocking read is the limit here */
        for (int i = 0; i < rounds; i++) {
            ping(players, message, size);
            while (!pong(players, message, size))
                ;
        }
        return;
    }
    for (int i = 0; i < many; i++) {
        players[i].rounds = rounds;
        polls[i].fd = players[i].out;
        polls[i].events = POLLIN;
        ping(&players[i], message, size);
    }
    while (left) {
        if (poll(polls, many, -1) < 0)
            fail("poll");
        for (int i = 0; i < many; i++) {
            if (!polls[i].revents || !pong(&players[i], message, size))
                continue;
            if (--players[i].rounds)
                ping(&players[i], message, size);
            else {
                polls[i].fd = -1;
                polls[i].revents = 0;
                left--;
            }
        }
    }
}

static void bench_pingpong(int many, int rounds, int size, char *program)
{
    static struct player players[MOST];
    char *argv[] = {program, NULL};
    long long begin;
    for (int i = 0; i < many; i++)
        players[i].pid =
            start_piped(argv, 0, &players[i].in, 1, &players[i].out);
    play(players, many, 50, size);
    begin = now();
    play(players, many, rounds, size);
    printf("%lld\n", now() - begin);
    for (int i = 0; i < many; i++) {
        close(players[i].in);
        reap(players[i].pid);
    }
}

static void stop_all(int count, pid_t *pids)
{
    int status;
    for (int i = 0; i < count; i++)
        if (killpg(pids[i], SIGTERM))
            fail("killpg");
    for (int i = 0; i < count; i++) {
        if (waitpid(pids[i], &status, 0) != pids[i] || !WIFSIGNALED(status))
            fail("waitpid");
        if (killpg(pids[i], SIGKILL) && errno != ESRCH)
            fail("killpg");
    }
}

static void bench_stop(int count, int times, char *program, char *argument)
{
    char *argv[] = {program, argument, NULL};
    struct timespec moment = {0, 100000000};
    pid_t *pids = calloc(count, sizeof *pids);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    for (int t = 0; t < times; t++) {
        long long begin;
        for (int i = 0; i < count; i++) {
            errno = posix_spawn(&pids[i], program, NULL, &attributes, argv, environ);
            if (errno)
                fail("posix_spawn");
        }
        nanosleep(&moment, NULL);
        begin = now();
        stop_all(count, pids);
        printf("%lld\n", now() - begin);
    }
}

int main(int argc, char **argv)
{
    int n[3] = {0, 0, 0};
    for (int i = 0; i < 3 && i + 2 < argc; i++)
        n[i] = atoi(argv[i + 2]);
    if (argc == 5 && !strcmp(argv[1], "spawn"))
        bench_spawn(n[0], n[1], argv[4]);
    else if (argc == 4 && !strcmp(argv[1], "held"))
        bench_held(n[0], argv[3]);
    else if (argc == 5 && !strcmp(argv[1], "echo") && n[1] <= MOST)
        bench_echo(n[0], n[1], argv[4]);
    else if (argc == 6 && !strcmp(argv[1], "pingpong") && n[0] <= MOST &&
             n[2] <= 4096)
        bench_pingpong(n[0], n[1], n[2], argv[5]);
    else if (argc == 6 && !strcmp(argv[1], "stop"))
        bench_stop(n[0], n[1], argv[4], argv[5]);
    else {
        fprintf(stderr, "see the comment at the top of limit.c\n");
        return 2;
    }
    return 0;
}
