
/*
 * Copyright (C) Academy exchange authors
 */


/* the libFuzzer target; token_check.c says what is checked */


#include "token_check.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    token_check(data, size);

    return 0;
}
