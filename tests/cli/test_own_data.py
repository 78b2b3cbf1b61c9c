# Your own data

1. [A table](#a-table)
2. [Columns](#columns)
3. [Arrays](#arrays)
4. [Which answers](#which-answers)
5. [Training, validation, test](#training-validation-test)
6. [Long streams](#long-streams)
7. [Where files are looked for](#where-files-are-looked-for)
8. [What is refused](#what-is-refused)

The task `sequences` reads a table (`.csv`, `.tsv`) or named arrays (`.npz`, `.safetensors`). All its keys:
[experiments.md](experiments.md#every-key).

## A table

`experiments/own-data/greenhouse.csv` has a row per hour:

```text
time,inside,outside,humidity,sun,heating
2022-03-01 00:00,14.1,3.1,93,0.00,0
```

The readings are made up: `experiments/own-data/make_greenhouse.py` is the program that wrote them. `greenhouse.json`
beside it learns to say, at every hour, what `inside` will be in six:

```sh
stpn train experiments/own-data/greenhouse.json --out runs/greenhouse
stpn eval runs/greenhouse
stpn train experiments/own-data/greenhouse.json --set task.ahead=1 --out runs/next-hour
stpn train experiments/own-data/greenhouse.json --set task.target= --set task.label=heating --out runs/heating
```

The first takes less than a second and ends with a test loss of about 0.3.
So few sequences tell a lot of chance: from seed to seed and kernel to kernel it is 0.25 to 0.43. With `standardise` the loss is in units of the
variance: 1 is what the mean of the training hours gives on them. On the test hours that mean gives 1.6, and taking the
present temperature for that in six hours 3.3. The last line predicts a class instead, whether the heating will be on.

## Columns

```text
"task": {
  "name": "sequences", "file": "greenhouse.csv", "inputs": "inside, outside, humidity, sun, heating",
  "target": "inside", "ahead": 6, "window": 72, "standardise": true,
  "validation_fraction": 0.2, "test_fraction": 0.2
}
```

| key | what |
| --- | --- |
| `inputs` | headings of the inputs, between commas; every cell a finite number |
| `target` | headings of numbers to predict; the loss is the mean of the squared errors |
| `label` | or the heading of a class: integers from 0, or words, which are numbered in alphabetical order; the loss is the cross-entropy |
| `sequence` | heading of a column that tells sequences apart: rows one after the other with the same text in it are one; without it the whole table is |
| `ahead` | the answer at a step is that of so many rows later, of the same sequence |
| `window` | cuts sequences into pieces of at most so many steps, each of which starts from a state of zeros: more of them train side by side |
| `standardise` | every input, and every target, is moved and divided so that its training values have mean 0 and standard deviation 1 |

Columns that no key names may hold anything. An empty cell of `label` or `target` asks for no answer there. The separator is
a comma, a semicolon or a tab, whichever comes first in that order and is in the heading; numbers have a point. A cell may
stand in double quotes, but not over several lines. Rows count in the order of the file.

## Arrays

From NumPy:

```python
import numpy as np

draw = np.random.default_rng(0)
inputs = draw.normal(size=(500, 20, 3)).astype(np.float32)      # 500 sequences of 20 steps, 3 inputs
labels = (inputs[:, :, 0].sum(axis=1) > 0).astype(np.int64)     # one class per sequence
np.savez("mine.npz", inputs=inputs, labels=labels)
```

```json
{
  "name": "mine",
  "task": {"name": "sequences", "file": "mine.npz"},
  "units": [{"name": "stpn_r", "hidden": 16}],
  "train": {"epochs": 30, "batch": 20, "learning_rate": 0.003}
}
```

```sh
stpn train mine.json
stpn eval runs/mine-s0
```

With PyTorch, `safetensors.torch.save_file({"inputs": x, "labels": y}, "mine.safetensors")` does the same.

| array | shape | what |
| --- | --- | --- |
| `inputs` | (N, T, I) | N sequences of up to T steps, I numbers each |
| `tokens` | (N, T) | in place of `inputs`: integers from 0, one symbol per step |
| `labels` | (N) or (N, T) | a class per sequence, after its last step, or per step; integers from 0, negative: no answer is asked for |
| `targets` | (N), (N, O), (N, T) or (N, T, O) | in place of `labels`: O numbers to predict; NaN: not asked for |
| `lengths` | (N) | steps of each sequence, from 1 to T; without it all have T. What lies behind is not looked at |
| `split` | (N) | 0 training, 1 validation, 2 test |

Types: 32- and 64-bit floats, integers of 8 to 64 bits, bool; in `.npz` of either byte order, in C or Fortran order, stored
or compressed; in `.safetensors` F32, F64, I32, I64 and U8. Other arrays in the file are left alone. `.npz` files are read up
to 4 GiB.

## Which answers

`answers` says whether an answer is asked for after every `step` or once per `sequence`, after its last step. `auto`, the
default, goes by the shape of `labels` or `targets`; (N, X) `targets` are per step where X is T. In a table it means every
step, and `sequence` takes the label or target in a sequence's last row.

What is learned follows: `labels` and `label` give a classifier of as many classes as the largest label says, in the whole
file, `targets` and `target` a regression. The accuracy counts the answers that are asked for.

## Training, validation, test

- Where the file has `split` (an array, or a column of that name), it decides. In a table a sequence also ends where the
  column changes.
- Otherwise `validation_fraction` and `test_fraction` of the sequences, rounded, are drawn for the two by the seed of the
  experiment; the rest trains. With another seed others are drawn: to compare over seeds on the same sequences, give a
  `split`.
- A single sequence with an answer at every step is cut in time instead: the first part trains, then come validation and
  test. No answer is looked up over these borders, however far `ahead` is.

Each of the three needs at least one sequence. `window` cuts afterwards.

## Long streams

The data lie in memory as floats, and training keeps a few numbers per neuron and step of the sequences of a batch. Where
that is too much, or where the network should remember over the whole stream, do not cut it by `window` but let the learner
go through it: `train.truncate` 500 makes an update every 500 steps and carries the state on.

```sh
stpn train experiments/own-data/greenhouse.json --set task.window=0 --set train.batch=1 --set train.truncate=48 --out runs/stream
```

## Where files are looked for

A relative `file` starts from the folder of the experiment file, wherever the command is called. A run keeps the text as it
was given, so no file of it but `origin.txt` depends on the machine: that one holds the folder, for `stpn eval` and
`--resume` from anywhere, and the file's size and checksum. Where the data have moved, change its first line. The data
themselves are not copied: evaluating reads the file again, and so does resuming, which refuses another one.

## What is refused

Every fault is one message with file and place, before anything is written: a NaN or infinite input (`array "inputs" at
[3, 0, 2]`, `line 7, column "sun"`), a number that is none, rows with too few or too many cells, a label that is no integer,
shapes that do not fit each other, lengths out of range, a truncated or damaged archive (checksums are verified), objects,
texts and complex numbers in arrays that are used.
