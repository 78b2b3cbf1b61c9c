#include "tasks/task.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static const task_type *const registry[] = {
    &task_retrieval,
};

enum { TASK_COUNT = sizeof registry / sizeof *registry };

const task_type *task_at(int index)
{
    return index < 0 || index >= TASK_COUNT ? NULL : registry[index];
}

const task_type *task_find(const char *name)
{
    for (int i = 0; i < TASK_COUNT; i++)
        if (strcmp(registry[i]->name, name) == 0) return registry[i];
    return NULL;
}

void task_names(char *text, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < TASK_COUNT && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", registry[i]->name);
}

void task_data_free(task_data *data)
{
    task_split *splits[3] = {&data->train, &data->validation, &data->test};
    for (int i = 0; i < 3; i++) {
        memory_free(splits[i]->tokens);
        memory_free(splits[i]->labels);
        *splits[i] = (task_split){0};
    }
}
