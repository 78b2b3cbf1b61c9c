#include "tasks/task.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static const task_type *const registry[] = {
    &task_retrieval,
    &task_familiarity,
    &task_sequences,
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

void task_file_path(const task_options *o, char path[TASK_PATH + TASK_TEXT])
{
    int from_folder = *o->folder && o->file[0] != '/';
    snprintf(path, TASK_PATH + TASK_TEXT, "%s%s%s", from_folder ? o->folder : "", from_folder ? "/" : "", o->file);
}

int task_shape_fits(const task_shape *a, const task_data *data)
{
    const task_shape *b = &data->shape;
    return b->steps == 0 || (a->inputs == b->inputs && a->outputs == b->outputs && a->steps == b->steps &&
                             a->type == b->type && a->loss == b->loss && a->per_step == b->per_step);
}

void task_split_free(task_split *split)
{
    memory_free(split->tokens);
    memory_free(split->inputs);
    memory_free(split->lengths);
    memory_free(split->labels);
    memory_free(split->targets);
    *split = (task_split){0};
}

void task_data_free(task_data *data)
{
    task_split_free(&data->train);
    task_split_free(&data->validation);
    task_split_free(&data->test);
    data->shape = (task_shape){0};
}
