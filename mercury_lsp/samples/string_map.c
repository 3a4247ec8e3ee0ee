/* A hash map from strings to pointers, with open addressing and linear probing. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INITIAL_CAPACITY 16
#define MAX_LOAD_PERCENT 70

struct entry {
    char *key;
    void *value;
    uint64_t hash;
};

struct string_map {
    struct entry *entries;
    size_t capacity;
    size_t count;
};

static uint64_t hash_string(const char *key)
{
    uint64_t hash = 14695981039346656037ULL;
    for (const char *p = key; *p != '\0'; p++) {
        hash ^= (unsigned char)*p;
        hash *= 1099511628211ULL;
    }
    return hash;
}

static char *copy_string(const char *text)
{
    size_t length = strlen(text);
    char *copy = malloc(length + 1);
    if (copy == NULL) {
        return NULL;
    }
    memcpy(copy, text, length + 1);
    return copy;
}

struct string_map *string_map_create(void)
{
    struct string_map *map = malloc(sizeof(*map));
    if (map == NULL) {
        return NULL;
    }
    map->entries = calloc(INITIAL_CAPACITY, sizeof(*map->entries));
    if (map->entries == NULL) {
        free(map);
        return NULL;
    }
    map->capacity = INITIAL_CAPACITY;
    map->count = 0;
    return map;
}

void string_map_destroy(struct string_map *map)
{
    if (map == NULL) {
        return;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        free(map->entries[i].key);
    }
    free(map->entries);
    free(map);
}

static struct entry *find_entry(struct entry *entries, size_t capacity, const char *key, uint64_t hash)
{
    size_t index = hash & (capacity - 1);
    while (entries[index].key != NULL) {
        if (entries[index].hash == hash && strcmp(entries[index].key, key) == 0) {
            return &entries[index];
        }
        index = (index + 1) & (capacity - 1);
    }
    return &entries[index];
}

static bool grow(struct string_map *map)
{
    size_t capacity = map->capacity * 2;
    struct entry *entries = calloc(capacity, sizeof(*entries));
    if (entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        struct entry *old = &map->entries[i];
        if (old->key != NULL) {
            *find_entry(entries, capacity, old->key, old->hash) = *old;
        }
    }
    free(map->entries);
    map->entries = entries;
    map->capacity = capacity;
    return true;
}

bool string_map_put(struct string_map *map, const char *key, void *value)
{
    if ((map->count + 1) * 100 > map->capacity * MAX_LOAD_PERCENT && !grow(map)) {
        return false;
    }
    uint64_t hash = hash_string(key);
    struct entry *entry = find_entry(map->entries, map->capacity, key, hash);
    if (entry->key == NULL) {
        entry->key = copy_string(key);
        if (entry->key == NULL) {
            return false;
        }
        entry->hash = hash;
        map->count++;
    }
    entry->value = value;
    return true;
}

void *string_map_get(const struct string_map *map, const char *key)
{
    struct entry *entry = find_entry(map->entries, map->capacity, key, hash_string(key));
    return entry->key == NULL ? NULL : entry->value;
}

bool string_map_remove(struct string_map *map, const char *key)
{
    struct entry *entry = find_entry(map->entries, map->capacity, key, hash_string(key));
    if (entry->key == NULL) {
        return false;
    }
    free(entry->key);
    memset(entry, 0, sizeof(*entry));
    map->count--;

    /* Entries behind the gap may have been pushed past it: put them in again. */
    size_t index = (size_t)(entry - map->entries);
    for (;;) {
        index = (index + 1) & (map->capacity - 1);
        struct entry moved = map->entries[index];
        if (moved.key == NULL) {
            return true;
        }
        memset(&map->entries[index], 0, sizeof(moved));
        *find_entry(map->entries, map->capacity, moved.key, moved.hash) = moved;
    }
}

size_t string_map_count(const struct string_map *map)
{
    return map->count;
}
