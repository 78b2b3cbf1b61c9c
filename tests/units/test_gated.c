#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/checks.h"

/* RNN, LSTM, GRU and MLP against their references (tests/support/checks.h). */

int main(void)
{
    return check_units("units/gated", "rnn lstm gru mlp");
}
