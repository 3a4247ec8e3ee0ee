/* One forward pass on a CPU: the network of `engine/network.py` with weights of at most 7 bits.

   Owns the arithmetic and how threads share it. Knows no tokens, no file, and nothing of who sees whom: it is handed
   the embedded rows, their rotary angles and a mask among the new rows, all of which see every earlier key.

   Weights are levels of 0 to 127, of which 64 stands for zero, with an fp32 scale for each row and 64 columns.
   Activations are rounded to 8 bits in groups of 16, each row by itself, so that a row's result does not depend on the
   rows beside it. Products of a group add up in 32-bit integers, all else is fp32. That the weights stay below 128 is
   what lets one layout serve every instruction set: VNNI and AVX2 multiply unsigned by signed bytes, AVX2 saturates
   above 2^15, and Arm multiplies signed by signed.

   The source is compiled once for each instruction set, whose name, SET, ends the names of the entry points. Vectors of
   16 lanes are the compiler's (GCC's vector extensions, which Clang has too), so only the dot product of bytes is
   written for each set. */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
__declspec(dllimport) int __stdcall SwitchToThread(void);
#define yield_core() SwitchToThread()
#else
#include <sched.h>
#define EXPORT __attribute__((visibility("default")))
#define yield_core() sched_yield()
#endif

#define JOIN(a, b) a##_##b
#define SUFFIXED(a, b) JOIN(a, b)
#define NAME(entry) SUFFIXED(entry, SET)
#define INLINE static inline __attribute__((always_inline))

#define LANES 16
#define GROUP 64  /* columns of a weight that share a scale */
#define PART 16   /* columns of an activation that share a scale */
#define PARTS (GROUP / PART)
#define ZERO 64   /* the level that stands for zero */
#define HEAD 64   /* width of an attention head */
#define SPAN 32   /* outputs that one thread claims at once */
#define SLICE 256 /* of the vocabulary, likewise */
#define THREADS 15 /* at most */

typedef _Float16 half;
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef int8_t vb __attribute__((vector_size(16)));
typedef half vh_any __attribute__((vector_size(32), aligned(2)));
typedef float vf_any __attribute__((vector_size(64), aligned(4)));
typedef int32_t vi_any __attribute__((vector_size(64), aligned(1)));
typedef int8_t vb_any __attribute__((vector_size(16), aligned(1)));

/* How many rows a tile has, so that its sums stay in registers: of a matrix product, of scores, of their values. */
#if defined(__AVX512F__)
enum { ROWS = 6, QUERIES = 12, MIXED = 6, COLUMNS = 4 };
#else
enum { ROWS = 3, QUERIES = 6, MIXED = 3, COLUMNS = 2 };
#endif

typedef struct {
    const uint8_t *levels; /* [outputs / 16][inputs / 64][16][16 outputs][4 inputs] */
    const float *scales;   /* [outputs / 16][inputs / 64][16 outputs] */
    int32_t outputs, inputs;
} Matrix;

typedef struct {
    Matrix qkv, out, gate_up, down;
    const float *attention_norm, *feed_norm;
    half *keys;   /* [kv_heads][capacity / 16][HEAD][16 keys] */
    half *values; /* [kv_heads][capacity][HEAD] */
} Layer;

typedef struct {
    int32_t layers, width, heads, kv_heads, hidden, capacity;
    float epsilon;
    const Layer *layer;
    const float *norm;
    Matrix vocabulary;
    const float *allowed; /* [vocabulary]: 0, or -inf for what must not be chosen */
} Network;

/* A stage's shares are divided among the threads, so that each reads weights in order; who is through helps on. */
typedef struct {
    _Alignas(64) atomic_int done;
    atomic_int next[THREADS]; /* of a thread's own shares, how many are claimed */
} Stage;

typedef struct {
    const Network *network;
    int32_t threads, rows, past;
    const float *cosine, *sine; /* [rows][HEAD / 2] */
    const uint8_t *mask;        /* [rows][rows]: whether a new row sees another */
    float *x;                   /* [rows][width]: embedded rows, and in the end the hidden ones */
    float *queries;             /* [rows][heads][HEAD] */
    int8_t *mixed, *fed;        /* the rounded inputs of `out` and `down` */
    float *mixed_scale, *fed_scale, *mixed_shift, *fed_shift;
    char *scratch; /* `scratch_bytes` for each thread */
    size_t scratch_bytes;
    Stage *stages; /* all zero: five a layer */
} Pass;

typedef struct {
    const Network *network;
    int32_t threads, rows;
    const float *hidden; /* [rows][width] */
    float *scores;       /* [rows][vocabulary] */
    float *peak, *mass;  /* [vocabulary / SLICE][rows] */
    char *scratch;
    size_t scratch_bytes;
    Stage *stages; /* two, all zero */
} Scores;

/* Rounded activations: [rows][inputs]; for each PART of a row its scale; and for each GROUP its shift: -ZERO times the
   sum of its values, which takes back what the weights' levels have too much. */
typedef struct {
    const int8_t *levels;
    const float *scale, *shift;
} Rounded;

INLINE vf load(const float *from) { return *(const vf_any *)from; }
INLINE void store(float *to, vf v) { *(vf_any *)to = v; }
INLINE vf load_half(const half *from) { return __builtin_convertvector(*(const vh_any *)from, vf); }
INLINE vi load_bytes(const void *from) { return *(const vi_any *)from; }
INLINE vf splat(float v) { return (vf){v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }
INLINE vi splat_int(int32_t v) { return (vi){} + v; }
INLINE vf as_float(vi v) { return __builtin_convertvector(v, vf); }
INLINE vf larger(vf a, vf b) { vi m = a > b; return (vf)(((vi)a & m) | ((vi)b & ~m)); }
INLINE vf absolute(vf v) { return (vf)((vi)v & 0x7fffffff); }

/* Each lane with the one whose number differs in the bit n. */
#define ACROSS(v, n)                                                                                                   \
    __builtin_shufflevector(v, v, 0 ^ n, 1 ^ n, 2 ^ n, 3 ^ n, 4 ^ n, 5 ^ n, 6 ^ n, 7 ^ n, 8 ^ n, 9 ^ n, 10 ^ n,        \
                            11 ^ n, 12 ^ n, 13 ^ n, 14 ^ n, 15 ^ n)

INLINE float sum_of(vf v) {
    v += ACROSS(v, 8), v += ACROSS(v, 4), v += ACROSS(v, 2), v += ACROSS(v, 1);
    return v[0];
}

INLINE int32_t int_sum_of(vi v) {
    v += ACROSS(v, 8), v += ACROSS(v, 4), v += ACROSS(v, 2), v += ACROSS(v, 1);
    return v[0];
}

INLINE float largest_of(vf v) {
    v = larger(v, ACROSS(v, 8)), v = larger(v, ACROSS(v, 4));
    v = larger(v, ACROSS(v, 2)), v = larger(v, ACROSS(v, 1));
    return v[0];
}

/* acc + for each lane the dot product of 4 levels of a weight with 4 of an activation. */
INLINE vi dot(vi acc, vi weight, vi activation) {
#if defined(__AVX512VNNI__)
    return (vi)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)weight, (__m512i)activation);
#elif defined(__AVXVNNI__)
    union { vi v; __m256i h[2]; } a = {acc}, w = {weight}, x = {activation};
    for (int i = 0; i < 2; i++) a.h[i] = _mm256_dpbusd_avx_epi32(a.h[i], w.h[i], x.h[i]);
    return a.v;
#elif defined(__AVX2__)
    union { vi v; __m256i h[2]; } a = {acc}, w = {weight}, x = {activation};
    for (int i = 0; i < 2; i++) {
        __m256i pairs = _mm256_maddubs_epi16(w.h[i], x.h[i]);
        a.h[i] = _mm256_add_epi32(a.h[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    return a.v;
#elif defined(__ARM_FEATURE_DOTPROD)
    union { vi v; int32x4_t q[4]; } a = {acc};
    union { vi v; int8x16_t q[4]; } w = {weight}, x = {activation};
    for (int i = 0; i < 4; i++) a.q[i] = vdotq_s32(a.q[i], w.q[i], x.q[i]);
    return a.v;
#else
    for (int byte = 0; byte < 4; byte++) {
        int up = 24 - 8 * byte;
        acc += ((weight << up) >> 24) * ((activation << up) >> 24);
    }
    return acc;
#endif
}

/* e^x for x <= 0, by a polynomial of 2^f, |f| <= 1/2; 0 below -80. Its relative error is below 3e-7. */
INLINE vf exponential(vf x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, in the low bits */
    vi keep = x > -80.0f;
    vf t = x * 1.44269504f + magic, n = t - magic;
    vf f = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
    vf y = f * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * f + 8.3334519073e-3f;
    y = y * f + 4.1665795894e-2f;
    y = y * f + 1.6666665459e-1f;
    y = y * f + 5.0000001201e-1f;
    y = y * f * f + f + 1.0f;
    return (vf)(((vi)y + ((vi)t << 23)) & keep);
}

/* Round a group of values to levels of 8 bits, each part of it by a scale of its own. */
INLINE void round_group(const float *from, int8_t *levels, float *scale, float *shift) {
    const float magic = 12582912.0f;
    *shift = 0;
    for (int part = 0; part < PARTS; part++, from += PART, levels += PART) {
        vf values = load(from); /* PART is LANES */
        float peak = largest_of(absolute(values));
        float up = peak > 0 ? 127.0f / peak : 0;
        vi rounded = (vi)(values * up + magic) - 0x4b400000;
        *(vb_any *)levels = __builtin_convertvector(rounded, vb);
        scale[part] = peak / 127.0f;
        *shift -= ZERO * scale[part] * int_sum_of(rounded);
    }
}

INLINE void round_row(const float *from, int width, int8_t *levels, float *scale, float *shift) {
    for (int i = 0; i < width / GROUP; i++) round_group(from + i * GROUP, levels + i * GROUP, scale + i * PARTS, shift + i);
}

/* Ask for the weights of a group that are `distance` bytes further on: memory works while the processor computes. */
INLINE void fetch(const uint8_t *levels, size_t distance) {
    for (int line = 0; line < GROUP * LANES; line += 64) __builtin_prefetch(levels + distance + line, 0, 2);
}

/* What a tile is of: two blocks of 16 outputs, and rows of activations. */
typedef struct {
    const uint8_t *weights[2];
    const float *scales[2], *scale, *shift;
    const int8_t *levels;
    int inputs, groups, parts;
    size_t distance; /* to the weights of the next tile */
} Factors;

INLINE Factors factors(const Matrix *m, const int block[2], int ahead, const Rounded *a, int row) {
    Factors f = {.inputs = m->inputs, .groups = m->inputs / GROUP, .parts = m->inputs / PART};
    for (int c = 0; c < 2; c++) {
        f.weights[c] = m->levels + (size_t)block[c] * f.groups * GROUP * LANES;
        f.scales[c] = m->scales + (size_t)block[c] * f.groups * LANES;
    }
    f.levels = a->levels + (size_t)row * f.inputs;
    f.scale = a->scale + (size_t)row * f.parts;
    f.shift = a->shift + (size_t)row * f.groups;
    f.distance = row == 0 ? (size_t)ahead * f.groups * GROUP * LANES : 0; /* further rows find them there */
    return f;
}

/* The products of `rows` <= ROWS rows with two blocks. The sums stay in memory: registers hold one part's integers and
   one group's floats. */
INLINE void tile(const int rows, const Factors *f, vf sum[ROWS][2]) {
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = splat(0);
    for (int g = 0; g < f->groups; g++) {
        const uint8_t *w[2] = {f->weights[0] + (size_t)g * GROUP * LANES, f->weights[1] + (size_t)g * GROUP * LANES};
        vf group[ROWS][2];
        if (f->distance) fetch(w[0], f->distance), fetch(w[1], f->distance);
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++) {
            vi acc[ROWS][2];
            for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = splat_int(0);
#pragma GCC unroll 4
            for (int k = 0; k < PART / 4; k++) {
                int at = part * PART + k * 4;
                vi w0 = load_bytes(w[0] + at * LANES), w1 = load_bytes(w[1] + at * LANES);
                for (int r = 0; r < rows; r++) {
                    int32_t four;
                    memcpy(&four, f->levels + (size_t)r * f->inputs + g * GROUP + at, 4);
                    vi x = splat_int(four);
                    acc[r][0] = dot(acc[r][0], w0, x);
                    acc[r][1] = dot(acc[r][1], w1, x);
                }
            }
            for (int r = 0; r < rows; r++) {
                vf scale = splat(f->scale[r * f->parts + g * PARTS + part]);
                vf shift = splat(f->shift[r * f->groups + g]);
                group[r][0] = as_float(acc[r][0]) * scale + (part ? group[r][0] : shift);
                group[r][1] = as_float(acc[r][1]) * scale + (part ? group[r][1] : shift);
            }
        }
        vf w0 = load(f->scales[0] + g * LANES), w1 = load(f->scales[1] + g * LANES);
        for (int r = 0; r < rows; r++) {
            sum[r][0] += group[r][0] * w0;
            sum[r][1] += group[r][1] * w1;
        }
    }
}

static void multiply(int rows, const Matrix *m, const int block[2], int ahead, const Rounded *a, int row,
                     vf sum[ROWS][2]) {
    Factors f = factors(m, block, ahead, a, row);
    switch (rows) {
    case 1: tile(1, &f, sum); return;
    case 2: tile(2, &f, sum); return;
    case 3: tile(3, &f, sum); return;
#if defined(__AVX512F__)
    case 4: tile(4, &f, sum); return;
    case 5: tile(5, &f, sum); return;
    case 6: tile(6, &f, sum); return;
#endif
    }
}

/* The rows of the next tile: as even as can be, for a tile of one row reads all the weights that one of six does. */
INLINE int tile_rows(int left) {
    int tiles = (left + ROWS - 1) / ROWS;
    return (left + tiles - 1) / tiles;
}

/* A thread's next share of a stage, or -1: of its own ones first. */
INLINE int claim(Stage *stage, int shares, int thread, int threads) {
    for (int i = 0; i < threads; i++) {
        int owner = (thread + i) % threads, first = shares * owner / threads, end = shares * (owner + 1) / threads;
        if (atomic_load_explicit(&stage->next[owner], memory_order_relaxed) < end - first) {
            int share = first + atomic_fetch_add_explicit(&stage->next[owner], 1, memory_order_relaxed);
            if (share < end) return share;
        }
    }
    return -1;
}

INLINE void finish(Stage *stage) { atomic_fetch_add_explicit(&stage->done, 1, memory_order_release); }

INLINE int unfinished(Stage *stage, int shares) {
    return atomic_load_explicit(&stage->done, memory_order_acquire) < shares;
}

/* Until all shares are finished, by whichever threads there are: one that comes late finds nothing left to do. */
static void await(Stage *stage, int shares) {
    for (int spins = 0; unfinished(stage, shares); spins++) {
#if defined(__x86_64__)
        _mm_pause();
#endif
        if (spins > 4000) yield_core();
    }
}

/* What a thread has for itself: rounded rows, a row of floats, a span's outputs, scores. */
typedef struct {
    int8_t *levels;
    float *scale, *shift, *row, *span, *scores;
} Scratch;

static Scratch scratch_of(char *base, int rows, int width) {
    Scratch s;
    size_t parts = (size_t)rows * width / PART;
    s.row = (float *)base;
    s.span = s.row + width;
    s.scale = s.span + (size_t)rows * HEAD;
    s.shift = s.scale + parts;
    s.levels = (int8_t *)(s.shift + parts);
    s.scores = (float *)(s.levels + (((size_t)rows * width + 63) & ~(size_t)63));
    return s;
}

/* The RMS norm of a row; `to` may be `from`. */
INLINE void norm_row(const Network *net, const float *from, const float *weight, float *to) {
    vf squares = splat(0);
    for (int i = 0; i < net->width; i += LANES) squares += load(from + i) * load(from + i);
    float root = 1.0f / __builtin_sqrtf(sum_of(squares) / net->width + net->epsilon);
    for (int i = 0; i < net->width; i += LANES) store(to + i, load(from + i) * root * load(weight + i));
}

/* Round a row into a thread's scratch. */
INLINE void keep_rounded(const Scratch *s, int row, int width, const float *from) {
    round_row(from, width, s->levels + (size_t)row * width, s->scale + (size_t)row * width / PART,
              s->shift + (size_t)row * width / GROUP);
}

/* RMS norm of all rows, rounded. Every thread does it for itself, which costs less than to wait for each other. */
static Rounded norm(const Network *net, const float *x, int rows, const float *weight, const Scratch *s) {
    for (int r = 0; r < rows; r++) {
        norm_row(net, x + (size_t)r * net->width, weight, s->row);
        keep_rounded(s, r, net->width, s->row);
    }
    return (Rounded){s->levels, s->scale, s->shift};
}

/* One head's outputs of the joint projection: turned by the positions' angles, and where they belong. */
static void project(const Pass *p, const Layer *layer, const Rounded *a, int head, float *span) {
    const Network *net = p->network;
    for (int column = 0; column < HEAD; column += 2 * LANES) {
        int block = (head * HEAD + column) / LANES, blocks[2] = {block, block + 1};
        for (int r = 0, n; r < p->rows; r += n) {
            vf sum[ROWS][2];
            multiply(n = tile_rows(p->rows - r), &layer->qkv, blocks, 2, a, r, sum);
            for (int i = 0; i < n; i++)
                for (int c = 0; c < 2; c++) store(span + (r + i) * HEAD + column + c * LANES, sum[i][c]);
        }
    }
    int kv = head - net->heads, value = kv - net->kv_heads;
    if (value >= 0) {
        half *to = layer->values + ((size_t)value * net->capacity + p->past) * HEAD;
        for (int i = 0; i < p->rows * HEAD; i++) to[i] = (half)span[i];
        return;
    }
    float shrink = kv < 0 ? 0.125f : 1.0f; /* of queries: 1 / sqrt(HEAD) */
    for (int r = 0; r < p->rows; r++) {
        float *y = span + r * HEAD;
        const float *cosine = p->cosine + r * HEAD / 2, *sine = p->sine + r * HEAD / 2;
        for (int i = 0; i < HEAD / 2; i += LANES) {
            vf left = load(y + i) * shrink, right = load(y + HEAD / 2 + i) * shrink;
            store(y + i, left * load(cosine + i) - right * load(sine + i));
            store(y + HEAD / 2 + i, right * load(cosine + i) + left * load(sine + i));
        }
        if (kv < 0) {
            memcpy(p->queries + ((size_t)r * net->heads + head) * HEAD, y, sizeof(float) * HEAD);
        } else {
            int at = p->past + r;
            half *to = layer->keys + ((size_t)kv * net->capacity + at / LANES * LANES) * HEAD + at % LANES;
            for (int i = 0; i < HEAD; i++) to[i * LANES] = (half)y[i];
        }
    }
}

/* Scores of `wide` <= QUERIES packed queries with all keys: [query][padded]. */
INLINE void compare(const int wide, const float q[HEAD][QUERIES], const half *key, int padded, float *scores) {
    for (int at = 0; at < padded; at += LANES, key += LANES * HEAD) {
        vf acc[QUERIES];
        for (int i = 0; i < wide; i++) acc[i] = splat(0);
        for (int d = 0; d < HEAD; d++) {
            vf k = load_half(key + d * LANES);
            for (int i = 0; i < wide; i++) acc[i] += k * q[d][i];
        }
        for (int i = 0; i < wide; i++) store(scores + (size_t)i * padded + at, acc[i]);
    }
}

/* The values of all keys, mixed by the weights of `wide` <= MIXED queries. */
INLINE void mix(const int wide, const float *weights, int padded, const half *values, int keys, float out[MIXED][HEAD]) {
    for (int column = 0; column < HEAD; column += COLUMNS * LANES) {
        const half *value = values + column;
        vf acc[MIXED][COLUMNS];
        for (int j = 0; j < wide; j++)
            for (int c = 0; c < COLUMNS; c++) acc[j][c] = splat(0);
        for (int at = 0; at < keys; at++, value += HEAD)
            for (int c = 0; c < COLUMNS; c++) {
                vf v = load_half(value + c * LANES);
                for (int j = 0; j < wide; j++) acc[j][c] += v * weights[(size_t)j * padded + at];
            }
        for (int j = 0; j < wide; j++)
            for (int c = 0; c < COLUMNS; c++) store(out[j] + column + c * LANES, acc[j][c]);
    }
}

/* Softmax attention of up to `wide` query vectors from number `first` on, which count a row's heads of one group
   first. */
static void attend(const Pass *p, const Layer *layer, int kv, int first, int wide, float *scores) {
    const Network *net = p->network;
    const int group = net->heads / net->kv_heads, count = p->rows * group, keys = p->past + p->rows;
    const int padded = (keys + LANES - 1) / LANES * LANES;
    const int n = count - first < wide ? count - first : wide;
    float q[HEAD][QUERIES] = {0};
    for (int i = 0; i < n; i++) {
        int query = first + i;
        const float *from = p->queries + ((size_t)(query / group) * net->heads + kv * group + query % group) * HEAD;
        for (int d = 0; d < HEAD; d++) q[d][i] = from[d];
    }
    const half *key = layer->keys + (size_t)kv * net->capacity * HEAD;
    if (n <= 3)
        compare(3, q, key, padded, scores);
    else if (n <= QUERIES / 2)
        compare(QUERIES / 2, q, key, padded, scores);
    else
        compare(QUERIES, q, key, padded, scores);
    float mass[QUERIES];
    for (int i = 0; i < n; i++) {
        float *own = scores + (size_t)i * padded;
        const uint8_t *seen = p->mask + (size_t)((first + i) / group) * p->rows;
        for (int at = p->past; at < keys; at++)
            if (!seen[at - p->past]) own[at] = -1e30f;
        for (int at = keys; at < padded; at++) own[at] = -1e30f;
        vf peak = load(own), sum = splat(0);
        for (int at = LANES; at < padded; at += LANES) peak = larger(peak, load(own + at));
        float top = largest_of(peak);
        for (int at = 0; at < padded; at += LANES) {
            vf e = exponential(load(own + at) - top);
            sum += e;
            store(own + at, e);
        }
        mass[i] = sum_of(sum);
    }
    const half *values = layer->values + (size_t)kv * net->capacity * HEAD;
    for (int i = 0; i < n; i += MIXED) {
        const int m = n - i < MIXED ? n - i : MIXED;
        float out[MIXED][HEAD];
        if (m <= 3)
            mix(3, scores + (size_t)i * padded, padded, values, keys, out);
        else
            mix(MIXED, scores + (size_t)i * padded, padded, values, keys, out);
        for (int j = 0; j < m; j++) {
            int query = first + i + j, head = kv * group + query % group, row = query / group;
            size_t at = (size_t)row * net->heads + head;
            for (int d = 0; d < HEAD; d += LANES) store(out[j] + d, load(out[j] + d) * (1.0f / mass[i + j]));
            round_row(out[j], HEAD, p->mixed + at * HEAD, p->mixed_scale + at * PARTS, p->mixed_shift + at);
        }
    }
}

/* Add a span of a matrix' outputs to the rows of x. */
static void add(const Pass *p, const Matrix *m, const Rounded *a, int span) {
    int blocks[2] = {2 * span, 2 * span + 1}, width = p->network->width;
    for (int r = 0, n; r < p->rows; r += n) {
        vf sum[ROWS][2];
        multiply(n = tile_rows(p->rows - r), m, blocks, 2, a, r, sum);
        for (int i = 0; i < n; i++)
            for (int c = 0; c < 2; c++) {
                float *to = p->x + (size_t)(r + i) * width + span * SPAN + c * LANES;
                store(to, load(to) + sum[i][c]);
            }
    }
}

/* A group of SwiGLU's hidden values, rounded. */
static void gate(const Pass *p, const Matrix *m, const Rounded *a, int at) {
    const int hidden = p->network->hidden;
    for (int r = 0, n; r < p->rows; r += n) {
        _Alignas(64) float y[ROWS][GROUP];
        n = tile_rows(p->rows - r);
        for (int quarter = 0; quarter < GROUP / LANES; quarter++) {
            int block = at * GROUP / LANES + quarter, blocks[2] = {block, block + hidden / LANES};
            vf sum[ROWS][2];
            multiply(n, m, blocks, 1, a, r, sum);
            for (int i = 0; i < n; i++) {
                vf g = sum[i][0], e = exponential(-absolute(g)); /* of the sigmoid, without overflow */
                vi positive = g > 0.0f;
                vf top = (vf)(((vi)splat(1) & positive) | ((vi)e & ~positive));
                store(y[i] + quarter * LANES, g * top / (e + 1.0f) * sum[i][1]);
            }
        }
        for (int i = 0; i < n; i++) {
            size_t group = (size_t)(r + i) * hidden / GROUP + at;
            round_group(y[i], p->fed + group * GROUP, p->fed_scale + group * PARTS, p->fed_shift + group);
        }
    }
}

/* Bytes of scratch that a thread needs for so many rows and keys. */
EXPORT size_t NAME(mercury_scratch)(int32_t width, int32_t rows, int32_t keys) {
    size_t floats = width + (size_t)rows * HEAD + 2 * ((size_t)rows * width / PART) + (size_t)QUERIES * (keys + LANES);
    return (floats * 4 + (size_t)rows * width + 127) & ~(size_t)63;
}

/* Run a pass. Each of the threads calls it, with a number of its own from 0 on; any of them may be missing. */
EXPORT void NAME(mercury_pass)(const Pass *p, int32_t thread) {
    const Network *net = p->network;
    const int heads = net->heads + 2 * net->kv_heads, group = net->heads / net->kv_heads;
    /* Few queries are cut into narrower tiles, so that all threads get some. */
    const int wide = p->rows * group > 2 * QUERIES ? QUERIES : QUERIES / 2;
    const int tiles = (p->rows * group + wide - 1) / wide;
    Scratch s = scratch_of(p->scratch + p->scratch_bytes * thread, p->rows, net->width);
    Rounded mixed = {p->mixed, p->mixed_scale, p->mixed_shift}, fed = {p->fed, p->fed_scale, p->fed_shift}, normed;
    Stage *stage = p->stages;
    for (int l = 0; l < net->layers; l++) {
        const Layer *layer = net->layer + l;
        int shares = heads;
        if (unfinished(stage, shares)) normed = norm(net, p->x, p->rows, layer->attention_norm, &s);
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) project(p, layer, &normed, i, s.span);
        await(stage++, shares);
        shares = net->kv_heads * tiles;
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage))
            attend(p, layer, i / tiles, i % tiles * wide, wide, s.scores);
        await(stage++, shares);
        shares = net->width / SPAN;
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) add(p, &layer->out, &mixed, i);
        await(stage++, shares);
        shares = net->hidden / GROUP;
        if (unfinished(stage, shares)) normed = norm(net, p->x, p->rows, layer->feed_norm, &s);
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) gate(p, &layer->gate_up, &normed, i);
        await(stage++, shares);
        shares = net->width / SPAN;
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) add(p, &layer->down, &fed, i);
        await(stage++, shares);
    }
    if (thread == 0)
        for (int r = 0; r < p->rows; r++)
            norm_row(net, p->x + (size_t)r * net->width, net->norm, p->x + (size_t)r * net->width);
}

/* Log-probabilities of what may follow hidden rows. Threads as for a pass. */
EXPORT void NAME(mercury_scores)(const Scores *p, int32_t thread) {
    const Network *net = p->network;
    const Matrix *m = &net->vocabulary;
    const int width = net->width, shares = m->outputs / SLICE;
    Scratch s = scratch_of(p->scratch + p->scratch_bytes * thread, p->rows, width);
    Rounded a = {s.levels, s.scale, s.shift};
    Stage *stage = p->stages;
    if (unfinished(stage, shares))
        for (int r = 0; r < p->rows; r++)
            keep_rounded(&s, r, width, p->hidden + (size_t)r * width);
    for (int share; (share = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) {
        for (int column = share * SLICE; column < (share + 1) * SLICE; column += 2 * LANES) {
            int blocks[2] = {column / LANES, column / LANES + 1};
            for (int r = 0, n; r < p->rows; r += n) {
                vf sum[ROWS][2];
                multiply(n = tile_rows(p->rows - r), m, blocks, 2, &a, r, sum);
                for (int i = 0; i < n; i++)
                    for (int c = 0; c < 2; c++) {
                        int at = column + c * LANES;
                        store(p->scores + (size_t)(r + i) * m->outputs + at, sum[i][c] + load(net->allowed + at));
                    }
            }
        }
        for (int r = 0; r < p->rows; r++) {
            const float *y = p->scores + (size_t)r * m->outputs + share * SLICE;
            vf peak = load(y), mass = splat(0);
            for (int i = LANES; i < SLICE; i += LANES) peak = larger(peak, load(y + i));
            float top = largest_of(peak);
            if (top > -1e30f)
                for (int i = 0; i < SLICE; i += LANES) mass += exponential(load(y + i) - top);
            p->peak[share * p->rows + r] = top;
            p->mass[share * p->rows + r] = sum_of(mass);
        }
    }
    await(stage++, shares);
    for (int r; (r = claim(stage, p->rows, thread, p->threads)) >= 0; finish(stage)) {
        float top = p->peak[r], mass = 0;
        for (int i = 1; i < shares; i++) top = p->peak[i * p->rows + r] > top ? p->peak[i * p->rows + r] : top;
        for (int i = 0; i < shares; i++) mass += p->mass[i * p->rows + r] * __builtin_expf(p->peak[i * p->rows + r] - top);
        float total = top + __builtin_logf(mass);
        float *y = p->scores + (size_t)r * m->outputs;
        for (int i = 0; i < m->outputs; i += LANES) store(y + i, load(y + i) - total);
    }
    await(stage, p->rows);
}
