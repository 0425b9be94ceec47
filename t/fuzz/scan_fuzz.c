
/*
 * Copyright (C) Academy exchange authors
 */


/* the libFuzzer target; scan_check.c says what is checked */


#include "scan_check.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scan_check(data, size);

    return 0;
}
