/* The floor that replay sampling is measured against: gather B windows of `bytes` from base with software prefetch, nothing else. */
#include <stdint.h>
#include <string.h>

#define AHEAD 12

void gather(const char *base, const int64_t *index, int64_t count, int64_t stride, int64_t bytes, char *out)
{
    for (int64_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            const char *next = base + index[i + AHEAD] * stride;
            for (int64_t line = 0; line < bytes; line += 64)
                __builtin_prefetch(next + line, 0, 0);
        }
        memcpy(out + i * bytes, base + index[i] * stride, bytes);
    }
}
