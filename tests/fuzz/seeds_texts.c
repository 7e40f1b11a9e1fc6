/* Commands as people and clients send them, options, and JSON lines. */
#include "seeds.h"

#include <stdio.h>

static const char *const LINES[] = {
    "SET a 1\nGET a\nSET a 22\r\nGET a\r\nDEL a b\nGET a\nCOUNT\n",
    "SET \"a key\" v w\nSET \"\\x00\\xfF\\\"\\\\\" z\nGET \"a key\"\nEXISTS \"a key\" x\nKEYS a*\n",
    "SETEX t 100  v\nTTL t\nGET t\nEXPIRE t 1\nPERSIST t\nTTL t\n",
    "PING\nPING  a b \nping \"x\nGET \"\\xg0\"\nGET a b\n\r\n \t \nQUIT\nSET a 2\n",
    "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
    "WAIT 1 10\nWAIT x 1\nHELP get\nHELP\nINFO\nPEERS\nPING",
    "GET \"\\x4\nGET \"\\\nGET \"\nGET \"\\x\n",
    "SET k v\nBACKUP\nGET k\n",
    "RESTORE\nSIMPLEKV",
    "INCR n\nINCRBY n 5\nAPPEND k x\nSTRLEN k\nSETRANGE k 4000 x\nMGET k k k n\nMSET a 1 b 2\n",
    "SCAN 0\nSCAN 0 MATCH a* COUNT 2\nRANDOMKEY\nTYPE a\nFLUSHALL\nDBSIZE\n",
};

/* A line for each command; each becomes an array of its words. */
static const char *const COMMANDS[] = {
    "SET a 1\nGET a\nDEL a\nMSET a 1 b 2\nMGET a b c\nINCR a\nINCRBYFLOAT a 1.5\nAPPEND a x\n",
    "HELLO 3\nSET a 1 EX 100 GET\nGET a\nGET none\nTTL a\nEXPIRE a 10 NX\nGETEX a PERSIST\nTYPE "
    "a\n",
    "MULTI\nSET a 1\nINCR a\nGET a\nEXEC\nMULTI\nNOSUCH\nEXEC\nMULTI\nDISCARD\n",
    "WATCH a\nSET a 1\nMULTI\nGET a\nEXEC\nUNWATCH\nEXEC\n",
    "SETRANGE a 100 x\nGETRANGE a 0 -1\nSTRLEN a\nSCAN 0 MATCH a* COUNT 10\nKEYS "
    "*\nDBSIZE\nRANDOMKEY\n",
    "COMMAND COUNT\nCOMMAND INFO get\nCOMMAND DOCS set\nCOMMAND GETKEYS set a b\nCOMMAND LIST\n",
    "CLIENT ID\nCLIENT SETNAME x\nCLIENT GETNAME\nCLIENT LIST\nCLIENT REPLY SKIP\nPING\nCLIENT "
    "INFO\n",
    "CONFIG GET *\nINFO\nSLOWLOG GET\nLATENCY LATEST\nMEMORY USAGE a\nLOLWUT\nTIME\nROLE\nECHO x\n",
    "PING x\nHELLO 2 SETNAME me\nRESET\nSELECT 0\nSELECT 1\nWAIT 1 10\nWAITAOF 0 0 10\nQUIT\n",
    "HELLO 3\nHELP\nPEERS\nINFO server\nOBJECT HELP\nDEBUG SLEEP 0\nFLUSHALL\nDBSIZE\n",
    "SETEX a 10 v\nPSETEX b 10 v\nSETNX a w\nGETSET a x\nGETDEL a\nMSETNX a 1 c 2\nDECR n\nUNLINK "
    "a b\n",
    "RENAME a b\nCOPY a b\nTOUCH a\nEXISTS a a\nEXPIRETIME a\nPEXPIREAT a 1\nPTTL a\nPERSIST a\n",
};

static const char *const RESP_AND_INLINE[] = {
    "PING\r\n*1\r\n$4\r\nPING\r\nSET a \"b\\x41\\n\" \r\nGET 'a' \r\n",
    "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$12\r\nvalue\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "*0\r\n*-1\r\n\r\n*1\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$-1\r\n",
    "*1048577\r\n$1\r\n",
    "*2\r\n$3\r\nGET\r\n$536870913\r\n",
    "*1\r\n:4\r\nPING\r\n",
    "set a 'x\\'y' \"unbalanced\r\n",
};

/* Texts that end with NUL, as fuzz_options.c takes them. */
#define TEXTS(literal)                                                                             \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal)                                                \
    }
static const struct bytes OPTIONS[] = {
    TEXTS(
        "port = 8080\nname=a\n; comment\n[simple-kv]\npeers = a:1,\n  b:2, [::1]:3\n\0--fsync\0no"),
    TEXTS(
        "\xef\xbb\xbf# x\nack-timeout: 5s ; y\nmax-value = 64KiB\n\0KV_PORT=1\0--max-memory=1GiB"),
    TEXTS("[other]\nport=1\n\0--prot=1\0--help"),
    TEXTS("\0--peers\0h:1,h:2\0--bind=[::1]\0--advertise=[fe80::1]:8080\0--min-acks\0002"),
    TEXTS(
        "\0--data-dir=/d\0--segment-size=64KiB\0--snapshot-percent=10\0--backup-dir=/b\0--salvage"),
    TEXTS("\0--check\0x\0--repair-tail\0--log-level=debug\0--log-format\0json\0KV_KEYS_LIMIT=9"),
    TEXTS("\0--healthcheck\0--port=0\0--export\0--import\0"
          "1d\0"
          "18446744073709551615\0"
          "3600000ms\0"
          "16TiB"),
};

static const char *const JSON[] = {
    "{\"key\":\"a\",\"value\":\"\"}\n{\"key\":\"b\",\"value\":\"\\u0000 \\\" \\\\ \\n\"}\n",
    "{\"key_base64\":\"/w==\",\"value_base64\":\"gA==\"}\n\n \t\n",
    "{\"key\":\"c\",\"value\":\"x\",\"expires_ms\":9999999999999}\n",
    "{\"key\":\"a\",\"value\":\"x\",\"expires_ms\":1}\n{\"key\":2}\n",
    "{\"key\":\"\\ud83d\\ude00\",\"value\":\"\xc3\xa9\"}\r\n{\"key\":1}\n",
    "{\"key\":\"a\",\"key\":\"b\",\"value\":\"x\"}\n",
};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* An array of bulk strings for each line. */
static struct bytes arrays_of(const char *lines, char *out, size_t room)
{
    size_t used = 0;
    while (*lines != 0) {
        char words[512];
        int used_words = 0;
        unsigned count = 0;
        for (; *lines != '\n'; lines += *lines == ' ') {
            size_t size = strcspn(lines, " \n");
            used_words += snprintf(words + used_words, sizeof words - (size_t)used_words,
                                   "$%zu\r\n%.*s\r\n", size, (int)size, lines);
            lines += size;
            count++;
        }
        used += (size_t)snprintf(out + used, room - used, "*%u\r\n%s", count, words);
        lines++;
    }
    return bytes_of(out, used);
}

void seeds_of_texts(void)
{
    char arrays[4096];
    for (size_t i = 0; i < COUNT_OF(LINES); i++) {
        for (uint8_t choices = 0; choices < 3; choices++)
            seeds_write("session_line", choices, bytes_text(LINES[i]));
    }
    for (size_t i = 0; i < COUNT_OF(COMMANDS); i++) {
        struct bytes bytes = arrays_of(COMMANDS[i], arrays, sizeof arrays);
        for (uint8_t choices = 0; choices < 3; choices++)
            seeds_write("session_resp", choices, bytes);
        seeds_write("resp", (uint8_t)(i % 4), bytes);
    }
    for (size_t i = 0; i < COUNT_OF(RESP_AND_INLINE); i++) {
        seeds_write("session_resp", 0, bytes_text(RESP_AND_INLINE[i]));
        seeds_write("resp", (uint8_t)(2 + i % 2), bytes_text(RESP_AND_INLINE[i]));
    }
    for (size_t i = 0; i < COUNT_OF(OPTIONS); i++)
        seeds_write("options", 1, OPTIONS[i]);
    for (size_t i = 0; i < COUNT_OF(JSON); i++)
        seeds_write("exchange", 0, bytes_text(JSON[i]));
}
