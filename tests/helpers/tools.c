/* The few POSIX programs that the tests and the benchmark start, for Windows: what it does depends on its own name.
 *
 * `sh -c SCRIPT` knows only what portable tests need: commands separated by `;` or `&&`, namely
 * cat, echo, exec, exit, false, printf, read, sleep, true, yes, with `>&2`, `1>&2`, `>/dev/null`.
 * Anything else ends it with 127, so that a test which needs more fails. */
#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

enum { MOST = 64 };

static int run(int count, char **words);

/* Writes everything, or ends the program as SIGPIPE would. */
static void put(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        int written = _write(fd, bytes, (unsigned)length);
        if (written <= 0) {
            exit(1);
        }
        bytes += written;
        length -= written;
    }
}

static void put_unescaped(int fd, const char *text)
{
    for (; *text != '\0'; text++) {
        char byte = *text;
        if (byte == '\\' && text[1] == 'n') {
            byte = '\n';
            text++;
        } else if (byte == '\\' && text[1] == '\\') {
            text++;
        }
        put(fd, &byte, 1);
    }
}

static int cat(int out)
{
    static char buffer[1 << 16];
    int count;
    while ((count = _read(0, buffer, sizeof buffer)) > 0) {
        put(out, buffer, count);
    }
    return 0;
}

static int echo(int out, int count, char **words)
{
    static char line[1 << 16];
    size_t length = 0;
    for (int i = 1; i < count; i++) {
        size_t more = strlen(words[i]);
        if (length + more + 2 > sizeof line) {
            return 2;
        }
        memcpy(line + length, words[i], more);
        length += more;
        line[length++] = i + 1 < count ? ' ' : '\n';
    }
    if (count < 2) {
        line[length++] = '\n';
    }
    put(out, line, length);
    return 0;
}

__attribute__((noreturn)) static void yes(int out, const char *word)
{
    static char block[1 << 13];
    size_t length = 0, more = strlen(word);
    while (length + more + 1 < sizeof block) {
        memcpy(block + length, word, more);
        length += more;
        block[length++] = '\n';
    }
    for (;;) {
        put(out, block, length);
    }
}

static int seq(int out, long last)
{
    static char block[1 << 13];
    size_t length = 0;
    for (long number = 1; number <= last; number++) {
        length += sprintf(block + length, "%ld\n", number);
        if (length + 16 > sizeof block || number == last) {
            put(out, block, length);
            length = 0;
        }
    }
    return 0;
}

/* From zeros or its input to its output or nowhere; says how much that was. */
static int dd(int count, char **words)
{
    long blocks = -1, total = 0;
    int size = 512, quiet = 0, zeros = 0, sink = 0, more = 1;
    for (int i = 1; i < count; i++) {
        zeros |= strcmp(words[i], "if=/dev/zero") == 0;
        sink |= strcmp(words[i], "of=/dev/null") == 0;
        quiet |= strcmp(words[i], "status=none") == 0;
        sscanf(words[i], "bs=%d", &size);
        sscanf(words[i], "count=%ld", &blocks);
    }
    char *block = calloc(1, size);
    if (block == NULL) {
        return 1;
    }
    for (; blocks != 0 && more > 0; blocks--) {
        more = zeros ? size : _read(0, block, size);
        if (more > 0 && !sink) {
            put(1, block, more);
        }
        total += more > 0 ? more : 0;
    }
    if (!quiet) {
        fprintf(stderr, "%ld bytes\n", total);
    }
    return 0;
}

/* One line, byte by byte, so that the rest stays for others. */
static int read_line(void)
{
    char byte;
    int count;
    while ((count = _read(0, &byte, 1)) == 1 && byte != '\n') {
    }
    return count == 1 ? 0 : 1;
}

static int print_environment(void)
{
    for (char **entry = _environ; *entry != NULL; entry++) {
        put(1, *entry, strlen(*entry));
        put(1, "\n", 1);
    }
    return 0;
}

/* Takes the redirections out of a command, and tells where its output goes; -1 for nowhere. */
static int redirect(int *count, char **words)
{
    int out = 1, kept = 0;
    for (int i = 0; i < *count; i++) {
        if (strcmp(words[i], ">&2") == 0 || strcmp(words[i], "1>&2") == 0) {
            out = 2;
        } else if (strcmp(words[i], ">/dev/null") == 0) {
            out = _open("NUL", _O_WRONLY | _O_BINARY);
        } else {
            words[kept++] = words[i];
        }
    }
    *count = kept;
    return out;
}

static int run(int count, char **words)
{
    int out = redirect(&count, words);
    const char *name = count > 0 ? words[0] : "true";
    const char *first = count > 1 ? words[1] : NULL;
    if (strcmp(name, "exec") == 0 && count > 1) {
        int status = run(count - 1, words + 1);
        exit(status);
    } else if (strcmp(name, "cat") == 0 && count == 1) {
        return cat(out);
    } else if (strcmp(name, "echo") == 0) {
        return echo(out, count, words);
    } else if (strcmp(name, "exit") == 0) {
        exit(first == NULL ? 0 : atoi(first) & 255);
    } else if (strcmp(name, "false") == 0) {
        return 1;
    } else if (strcmp(name, "printf") == 0 && count == 2 && strchr(first, '%') == NULL) {
        put_unescaped(out, first);
        return 0;
    } else if (strcmp(name, "read") == 0) {
        return read_line();
    } else if (strcmp(name, "sleep") == 0 && count == 2) {
        Sleep((DWORD)(atof(first) * 1000));
        return 0;
    } else if (strcmp(name, "true") == 0 || strcmp(name, ":") == 0) {
        return 0;
    } else if (strcmp(name, "yes") == 0) {
        yes(out, first == NULL ? "y" : first);
    } else if (strcmp(name, "seq") == 0 && count == 2) {
        return seq(out, atol(first));
    } else if (strcmp(name, "dd") == 0) {
        return dd(count, words);
    } else if (strcmp(name, "env") == 0 && count == 1) {
        return print_environment();
    }
    fprintf(stderr, "%s: not known here\n", name);
    exit(127);
}

/* Splits a script into commands and words, in its own memory, and runs it. */
static int script(char *text)
{
    char *words[MOST];
    int count = 0, status = 0;
    char *from = text, *to = text;
    for (;;) {
        int ends = *from == '\0' || *from == ';' || *from == '\n' || (from[0] == '&' && from[1] == '&');
        if (ends) {
            int both = *from == '&', last = *from == '\0';
            from += last ? 0 : both ? 2 : 1;
            status = count > 0 ? run(count, words) : status;
            count = 0;
            to = from;
            if (last || (both && status != 0)) {
                return status;
            }
        } else if (*from == ' ') {
            from++;
        } else {
            char quote = '\0';
            if (count == MOST) {
                return 127;
            }
            to = from;
            words[count++] = to;
            while (*from != '\0' && (quote != '\0' || strchr(" ;\n", *from) == NULL)) {
                if (quote == '\0' && (*from == '\'' || *from == '"')) {
                    quote = *from++;
                } else if (*from == quote) {
                    quote = '\0';
                    from++;
                } else {
                    *to++ = *from++;
                }
            }
            char end = *from;
            *to = '\0';
            if (to == from && end != '\0') { /* the word ends where the separator was */
                if (end == ' ') {
                    from++;
                } else {
                    status = run(count, words);
                    count = 0;
                    from++;
                }
            }
        }
    }
}

int main(int argc, char **argv)
{
    char path[MAX_PATH], *name = path;
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
    _setmode(2, _O_BINARY);
    GetModuleFileNameA(NULL, path, sizeof path);
    for (char *at = path; *at != '\0'; at++) {
        if (*at == '\\' || *at == '/') {
            name = at + 1;
        }
    }
    name[strcspn(name, ".")] = '\0';
    if (strcmp(name, "sh") == 0) {
        if (argc < 3 || strcmp(argv[1], "-c") != 0) {
            return 127;
        }
        return script(argv[2]);
    }
    argv[0] = name;
    return run(argc, argv);
}
