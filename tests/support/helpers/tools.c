/* The few POSIX programs that the tests and the benchmark start, for Windows: what it does depends on its own name.
 *
 * `sh -c SCRIPT` knows only what portable tests need: commands separated by `;`, `&&` or `&`, groups
 * that run in the background, quotes, redirections, $x, $$ and $!. Anything else ends it with 127,
 * so that a test which needs more fails. */
#include <ctype.h>
#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

enum { WORDS = 64, FDS = 10, SAVED = 100 };

static char path[MAX_PATH]; /* of this program */
static char line[1 << 12];  /* $x */
static HANDLE background;
static DWORD background_pid; /* $! */

static int run(int count, char **words);

static __attribute__((noreturn)) void unknown(const char *what)
{
    fprintf(stderr, "%s: not known here\n", what);
    exit(127);
}

/* --- programs ---------------------------------------------------------------------------------- */

/* Writes everything, or ends the program as SIGPIPE would. */
static void put(const char *bytes, size_t length)
{
    while (length > 0) {
        int written = _write(1, bytes, (unsigned)length);
        if (written <= 0) {
            exit(1);
        }
        bytes += written;
        length -= written;
    }
}

static void put_unescaped(const char *text)
{
    for (; *text != '\0'; text++) {
        char byte = *text;
        if (byte == '\\' && text[1] == 'n') {
            byte = '\n';
            text++;
        } else if (byte == '\\' && text[1] == '\\') {
            text++;
        }
        put(&byte, 1);
    }
}

static int cat(void)
{
    static char buffer[1 << 16];
    int count;
    while ((count = _read(0, buffer, sizeof buffer)) > 0) {
        put(buffer, count);
    }
    return 0;
}

static int upper_case(void)
{
    char buffer[512];
    int count;
    while ((count = _read(0, buffer, sizeof buffer)) > 0) {
        for (int i = 0; i < count; i++) {
            buffer[i] = (char)toupper((unsigned char)buffer[i]);
        }
        put(buffer, count);
    }
    return 0;
}

static int count_bytes(void)
{
    static char buffer[1 << 16];
    long total = 0;
    int count;
    while ((count = _read(0, buffer, sizeof buffer)) > 0) {
        total += count;
    }
    put(buffer, (size_t)sprintf(buffer, "%ld\n", total));
    return 0;
}

static int zeros(long long count)
{
    static const char block[1 << 16];
    for (; count > 0; count -= sizeof block) {
        put(block, count < (long long)sizeof block ? (size_t)count : sizeof block);
    }
    return 0;
}

static int echo(int count, char **words)
{
    static char text[1 << 16];
    size_t length = 0;
    for (int i = 1; i < count; i++) {
        size_t more = strlen(words[i]);
        if (length + more + 2 > sizeof text) {
            return 2;
        }
        memcpy(text + length, words[i], more);
        length += more;
        text[length++] = i + 1 < count ? ' ' : '\n';
    }
    if (count < 2) {
        text[length++] = '\n';
    }
    put(text, length);
    return 0;
}

static __attribute__((noreturn)) void yes(const char *word)
{
    static char block[1 << 13];
    size_t length = 0, more = strlen(word);
    while (length + more + 1 < sizeof block) {
        memcpy(block + length, word, more);
        length += more;
        block[length++] = '\n';
    }
    for (;;) {
        put(block, length);
    }
}

static int seq(long last)
{
    static char block[1 << 13];
    size_t length = 0;
    for (long number = 1; number <= last; number++) {
        length += sprintf(block + length, "%ld\n", number);
        if (length + 16 > sizeof block || number == last) {
            put(block, length);
            length = 0;
        }
    }
    return 0;
}

/* From zeros or its input to its output or nowhere; says how much that was. */
static int dd(int count, char **words)
{
    long blocks = -1, total = 0;
    int size = 512, quiet = 0, empty = 0, sink = 0, more = 1;
    for (int i = 1; i < count; i++) {
        empty |= strcmp(words[i], "if=/dev/zero") == 0;
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
        more = empty ? size : _read(0, block, size);
        if (more > 0 && !sink) {
            put(block, more);
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
    size_t length = 0;
    char byte;
    int count;
    while ((count = _read(0, &byte, 1)) == 1 && byte != '\n') {
        if (length + 1 < sizeof line) {
            line[length++] = byte;
        }
    }
    line[length] = '\0';
    return count == 1 ? 0 : 1;
}

static int print_environment(void)
{
    for (char **entry = _environ; *entry != NULL; entry++) {
        put(*entry, strlen(*entry));
        put("\n", 1);
    }
    return 0;
}

static int run(int count, char **words)
{
    const char *name = count > 0 ? words[0] : "true";
    const char *first = count > 1 ? words[1] : NULL;
    const char *third = count > 3 ? words[3] : "";
    if (strcmp(name, "cat") == 0 && (count == 1 || strcmp(first, "/dev/zero") == 0)) {
        return count == 1 ? cat() : zeros(1LL << 62);
    } else if (strcmp(name, "head") == 0 && count == 4 && strcmp(third, "/dev/zero") == 0) {
        return zeros(atol(words[2]));
    } else if (strcmp(name, "tr") == 0 && count == 3 && strcmp(words[2], "A-Z") == 0) {
        return upper_case();
    } else if (strcmp(name, "wc") == 0 && count == 2) {
        return count_bytes();
    } else if (strcmp(name, "echo") == 0) {
        return echo(count, words);
    } else if (strcmp(name, "exit") == 0) {
        exit(first == NULL ? 0 : atoi(first) & 255);
    } else if (strcmp(name, "false") == 0) {
        return 1;
    } else if (strcmp(name, "printf") == 0 && count == 2 && strchr(first, '%') == NULL) {
        put_unescaped(first);
        return 0;
    } else if (strcmp(name, "read") == 0) {
        return read_line();
    } else if (strcmp(name, "sleep") == 0 && count == 2) {
        Sleep((DWORD)(atof(first) * 1000));
        return 0;
    } else if (strcmp(name, "true") == 0 || strcmp(name, ":") == 0) {
        return 0;
    } else if (strcmp(name, "wait") == 0) {
        WaitForSingleObject(background, INFINITE);
        return 0;
    } else if (strcmp(name, "yes") == 0) {
        yes(first == NULL ? "y" : first);
    } else if (strcmp(name, "seq") == 0 && count == 2) {
        return seq(atol(first));
    } else if (strcmp(name, "dd") == 0) {
        return dd(count, words);
    } else if (strcmp(name, "env") == 0 && count == 1) {
        return print_environment();
    }
    unknown(name);
}

/* --- the shell --------------------------------------------------------------------------------- */

/* Where fd goes to for the time of one command is kept at fd + SAVED. */
static void save(int fd)
{
    if (_dup2(fd, fd + SAVED) == 0) {
        SetHandleInformation((HANDLE)_get_osfhandle(fd + SAVED), HANDLE_FLAG_INHERIT, 0);
    }
}

static void restore(const char *changed)
{
    for (int fd = 0; fd < FDS; fd++) {
        if (changed[fd] && _dup2(fd + SAVED, fd) == 0) {
            _close(fd + SAVED);
        }
    }
}

/* Does what a word like 2>&1, <&- or >/dev/null says; 0 if it is none. */
static int redirect(const char *word, char *changed)
{
    const char *at = word;
    int fd = isdigit((unsigned char)*at) ? *at++ - '0' : -1;
    if (*at != '<' && *at != '>') {
        return 0;
    }
    if (fd < 0) {
        fd = *at == '>';
    }
    if (changed != NULL && !changed[fd]) {
        changed[fd] = 1;
        save(fd);
    }
    if (strcmp(++at, "&-") == 0) {
        _close(fd);
    } else if (*at == '&' && isdigit((unsigned char)at[1])) {
        if (at[1] - '0' != fd) {
            _dup2(at[1] - '0', fd);
        }
    } else if (strcmp(at, "/dev/null") == 0) {
        int file = _open("NUL", _O_RDWR | _O_BINARY);
        _dup2(file, fd);
        _close(file);
    } else {
        unknown(word);
    }
    return 1;
}

/* Takes the redirections out of a command and does them. */
static int redirect_all(int count, char **words, char *changed)
{
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (!redirect(words[i], changed)) {
            words[kept++] = words[i];
        }
    }
    return kept;
}

/* A shell of its own for `text`, with our three streams and nothing else of ours. */
static void start(const char *text)
{
    static char command[1 << 12];
    STARTUPINFOA startup = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION made;
    HANDLE handles[FDS] = {NULL};
    for (int fd = 0; fd < FDS; fd++) {
        if (_get_osfhandle(fd) != -1) {
            handles[fd] = (HANDLE)_get_osfhandle(fd);
            SetHandleInformation(handles[fd], HANDLE_FLAG_INHERIT, fd < 3 ? HANDLE_FLAG_INHERIT : 0);
        }
    }
    startup.hStdInput = handles[0];
    startup.hStdOutput = handles[1];
    startup.hStdError = handles[2];
    sprintf(command, "sh -c \"%s\"", text);
    if (!CreateProcessA(path, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &made)) {
        unknown(text);
    }
    CloseHandle(made.hThread);
    background = made.hProcess;
    background_pid = made.dwProcessId;
}

/* The end of a command: an unquoted ; or newline, & or &&, or the end of the script. */
static const char *end_of(const char *at)
{
    char quote = '\0';
    int depth = 0;
    for (char before = '\0'; *at != '\0'; before = *at++) {
        if (quote != '\0') {
            quote = *at == quote ? '\0' : quote;
        } else if (*at == '\'' || *at == '"') {
            quote = *at;
        } else if (*at == '(' || *at == ')') {
            depth += *at == '(' ? 1 : -1;
        } else if (depth == 0 && (strchr(";\n", *at) != NULL || (*at == '&' && strchr("<>", before) == NULL))) {
            break;
        } else if (depth == 0 && *at == '&' && before == '\0') {
            break;
        }
    }
    return at;
}

/* Copies a variable's value, and returns where its name ends. */
static const char *expand(const char *at, char **to)
{
    char number[16];
    const char *value = number;
    if (*at == 'x') {
        value = line;
    } else if (*at == '$' || *at == '!') {
        sprintf(number, "%lu", *at == '$' ? GetCurrentProcessId() : background_pid);
    } else {
        unknown(at);
    }
    strcpy(*to, value);
    *to += strlen(value);
    return at + 1;
}

/* Splits [at, end) into words. */
static int split(const char *at, const char *end, char **words)
{
    static char memory[1 << 16];
    char *to = memory, quote = '\0';
    int count = 0, within = 0;
    while (at < end) {
        if (quote == '\0' && *at == ' ') {
            if (within) {
                *to++ = '\0';
            }
            within = 0;
            at++;
            continue;
        }
        if (!within) {
            if (count == WORDS) {
                unknown("that number of words");
            }
            words[count++] = to;
            within = 1;
        }
        if (*at == quote || (quote == '\0' && (*at == '\'' || *at == '"'))) {
            quote = *at == quote ? '\0' : *at;
            at++;
        } else if (*at == '$' && quote != '\'') {
            at = expand(at + 1, &to);
        } else {
            *to++ = *at++;
        }
    }
    *to = '\0';
    return count;
}

static void in_background(const char *at, const char *end)
{
    char text[1 << 12], changed[FDS] = {0}, *words[WORDS], *to = text;
    const char *close = *at == '(' ? end : NULL;
    while (close != NULL && *close != ')') {
        close--;
    }
    int count = split(close == NULL ? at : close + 1, end, words);
    redirect("</dev/null", changed); /* as every shell does, unless it is redirected */
    count = redirect_all(count, words, changed);
    if (close != NULL) {
        to += sprintf(to, "%.*s", (int)(close - at - 1), at + 1);
    }
    for (int i = 0; i < count; i++) {
        to += sprintf(to, "%s ", words[i]);
    }
    start(text);
    restore(changed);
}

static int simple(const char *at, const char *end)
{
    char changed[FDS] = {0}, *words[WORDS];
    int count = split(at, end, words);
    if (count > 0 && strcmp(words[0], "exec") == 0) {
        count = redirect_all(count - 1, words + 1, NULL);
        if (count > 0) {
            exit(run(count, words + 1));
        }
        return 0;
    }
    count = redirect_all(count, words, changed);
    int status = run(count, words);
    restore(changed);
    return status;
}

static int script(const char *at)
{
    int status = 0;
    for (;;) {
        at += strspn(at, " \n;");
        if (*at == '\0') {
            return status;
        }
        const char *end = end_of(at);
        int both = end[0] == '&' && end[1] == '&';
        if (*end == '&' && !both) {
            in_background(at, end);
        } else if (*at == '(') {
            unknown("a group in the foreground");
        } else {
            status = simple(at, end);
            if (both && status != 0) {
                return status;
            }
        }
        at = end + (*end != '\0') + both;
    }
}

int main(int argc, char **argv)
{
    char *name = path;
    for (int fd = 0; fd < 3; fd++) {
        _setmode(fd, _O_BINARY);
    }
    GetModuleFileNameA(NULL, path, sizeof path);
    for (char *at = path; *at != '\0'; at++) {
        if (*at == '\\' || *at == '/') {
            name = at + 1;
        }
    }
    if (strncmp(name, "sh.", 3) == 0) {
        if (argc < 3 || strcmp(argv[1], "-c") != 0) {
            return 127;
        }
        return script(argv[2]);
    }
    static char own[MAX_PATH];
    memcpy(own, name, strcspn(name, "."));
    argv[0] = own;
    return run(argc, argv);
}
