/* An exported ensemble, stage by stage, until it is sure: the loop of a device.

       bdistil export runs/digits --out model --c
       cc -std=c99 -O2 -Imodel/c examples/microcontroller.c -o answer -lm
       echo "0 0 5 13 9 1 ..." | ./answer 0.95

   A device takes its features from a sensor and needs none of stdio.h, stdlib.h and string.h. Here
   they come from the standard input, raw, as in training: one line after another, each
   ENSEMBLE_INPUTS numbers. For each stage it prints the surest class and its calibrated
   probability, and goes on until that is at least what the first argument says (1: through all
   stages). It is for classes: state.logits of a regression are its targets, those of labels have a
   sigmoid each.
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ensemble.h"

static ensemble_state state; /* all memory that the ensemble needs */

/* The surest class after a stage, counted from 1, and its probability. */
static int surest(int stage, float *probability) {
    const float temperature = ensemble_temperatures[stage - 1];
    int best = 0;
    float sum = 0.0f;
    for (int i = 1; i < ENSEMBLE_OUTPUTS; i++)
        if (state.logits[i] > state.logits[best]) best = i;
    for (int i = 0; i < ENSEMBLE_OUTPUTS; i++)
        sum += expf((state.logits[i] - state.logits[best]) / temperature);
    *probability = 1.0f / sum;
    return best;
}

int main(int count, char **arguments) {
    static float x[ENSEMBLE_INPUTS];
    const float enough = count > 1 ? strtof(arguments[1], NULL) : 1.0f;
    if (strcmp(ensemble_task, "classification") != 0) {
        fprintf(stderr, "this loop is for classes, and the ensemble is for %s\n", ensemble_task);
        return EXIT_FAILURE;
    }
    for (;;) {
        for (int i = 0; i < ENSEMBLE_INPUTS; i++)
            if (scanf("%f", &x[i]) != 1) return i ? EXIT_FAILURE : EXIT_SUCCESS;
        ensemble_begin(&state);
        for (int stage = 1; stage <= ENSEMBLE_STAGES; stage++) {
            float probability;
            ensemble_steps[stage - 1](x, &state);
            const int best = surest(stage, &probability);
            printf("%d %s %.4f\n", stage, ensemble_classes[best], probability);
            if (enough < 1.0f && probability >= enough) break; /* a float may round to 1 */
        }
    }
}
