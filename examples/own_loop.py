"""A model and a training loop that are not ours, adjusted: plain torch, or the Trainer of transformers.

Run: python own_loop.py OUT [trainer]. The model is the LLaVA of transformers_model.py.
"""

import sys
from pathlib import Path

import torch
from transformers_model import Scorer, build

from causalecg import Cohort, ScoreSet, prepare, run_suite, score
from causalecg.audits.verdicts import overall
from causalecg.benchmark.cohort import simulate_cohort


def plain_loop(ready, size=16, epochs=2, rate=1e-3, steps=None):
    for stage in ready.stages:
        ready.begin(stage)
        owned = {name: ready.objective.parameters_of(name) for name in stage.trains}
        optimizers = {name: torch.optim.AdamW(own, lr=rate, weight_decay=0.0) for name, own in owned.items()}
        rounds = epochs if stage.epochs is None else stage.epochs
        for epoch in range(rounds if stage.trains else 0):
            for step, (progress, batch) in enumerate(ready.batches(stage, size, epoch=epoch, epochs=rounds)):
                if step == steps:
                    break
                terms = {}
                for part in stage.trains:
                    terms[part] = ready.objective.loss(batch, part, progress=progress)
                    ready.objective.zero_grad()
                    terms[part].total.backward()
                    optimizers[part].step()
                ready.objective.after_step(batch, terms)


def trainer_of_transformers(ready, folder, size=16, epochs=2, rate=1e-3, steps=-1):
    from transformers import Trainer, TrainingArguments

    for stage in ready.stages:
        ready.begin(stage)
        if not stage.trains or stage.epochs == 0:
            continue
        model, batches, callback = ready.for_trainer(stage, size)
        arguments = TrainingArguments(
            output_dir=str(folder), per_device_train_batch_size=1, remove_unused_columns=False, max_steps=steps,
            num_train_epochs=stage.epochs or epochs, learning_rate=rate, weight_decay=0.0, max_grad_norm=0.0,
            lr_scheduler_type="constant", report_to=[], save_strategy="no", disable_tqdm=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=batches, callbacks=[callback]).train()


def main(out, loop="plain", items=600, rho=0.9):
    cohort = Cohort.open(simulate_cohort(out / "cohort", rho=rho, items=items, test_items=items // 4))
    ready = prepare(cohort, "ipw", Scorer(*build({*cohort.wordings["question"], *cohort.answer_vocabulary})))
    plain_loop(ready) if loop == "plain" else trainer_of_transformers(ready, out / "trainer")
    told = {"run_id": "llava", "severity": "simulated", "batch_size": 16}
    score(ready.scorer(), cohort, split="test", out=out / "scores", **told)
    print("overall:", overall(run_suite(ScoreSet.open(out / "scores"), run_id="llava")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
