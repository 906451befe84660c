"""Ours in the Transformers Trainer, by each of its ways to name an optimizer."""

import pytest
import torch
import transformers

import ironstep
from integrations.training import AUTOCAST_ULPS, assert_ends_alike
from optim.cases import FULL, each_name

N_STEPS = 4


def language_model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    return transformers.LlamaForCausalLM(config)


def sentences():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(32, (2 * 4 * N_STEPS, 12), generator=generator)
    return [{"input_ids": row, "labels": row} for row in tokens]


def make_trainer(folder, *, trainer_class=transformers.Trainer, arguments=None, **kwargs):
    settings = dict(
        adam_epsilon=1e-3,  # as in FULL, which says why
        disable_tqdm=True,
        gradient_accumulation_steps=2,
        learning_rate=0.01,
        logging_strategy="no",
        max_grad_norm=0.5,
        max_steps=N_STEPS,
        optim="adamw_torch",
        output_dir=str(folder),
        per_device_train_batch_size=4,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        warmup_steps=1,
        weight_decay=0.1,
    )
    return trainer_class(
        kwargs.pop("model", None) or language_model(),
        transformers.TrainingArguments(**settings | (arguments or {})),
        train_dataset=sentences(),
        **kwargs,
    )


def train(trainer, **kwargs):
    trainer.train(**kwargs)
    return trainer.model, trainer.optimizer.optimizer  # the outer one is accelerate's wrapper


def by_optimizers(folder, optimizer_class):
    model = language_model()
    optimizer = optimizer_class(model.parameters(), **FULL["AdamW"])
    return make_trainer(folder, model=model, optimizers=(optimizer, None))


def by_create_optimizer(folder, optimizer_class):
    class Trainer(transformers.Trainer):
        def create_optimizer(self, model=None):
            self.optimizer = optimizer_class(self.model.parameters(), **FULL["AdamW"])
            return self.optimizer

    return make_trainer(folder, trainer_class=Trainer)


@pytest.mark.parametrize("way", [by_optimizers, by_create_optimizer])
def test_an_optimizer_of_ours_ends_where_torchs_ends(way, tmp_path):
    theirs, _ = train(way(tmp_path, torch.optim.AdamW))
    ours, optimizer = train(way(tmp_path, ironstep.optim.AdamW))
    assert_ends_alike(ours, theirs, optimizer)


def by_class(folder, package, name, **kwargs):
    named = getattr(package, name), dict(FULL[name])
    return make_trainer(folder, optimizer_cls_and_kwargs=named, **kwargs)


@each_name
def test_optimizer_cls_and_kwargs_ends_where_torchs_ends(name, tmp_path):
    theirs, _ = train(by_class(tmp_path, torch.optim, name))
    ours, optimizer = train(by_class(tmp_path, ironstep.optim, name))
    assert len(optimizer.param_groups) == 2  # the Trainer leaves the norms out of the decay
    assert_ends_alike(ours, theirs, optimizer)


def test_mixed_precision_ends_where_torchs_ends(tmp_path):
    bf16 = dict(arguments=dict(bf16=True))
    theirs, _ = train(by_class(tmp_path, torch.optim, "AdamW", **bf16))
    ours, optimizer = train(by_class(tmp_path, ironstep.optim, "AdamW", **bf16))
    assert_ends_alike(ours, theirs, optimizer, ulps=AUTOCAST_ULPS)


def converted_when_made(folder):
    class Trainer(transformers.Trainer):
        def create_optimizer(self, model=None):
            return ironstep.optim.from_torch(super().create_optimizer(model))

    return make_trainer(folder, trainer_class=Trainer)


def converted_by_a_callback(folder):
    class Convert(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, optimizer, **kwargs):
            ironstep.optim.from_torch(optimizer)

    return make_trainer(folder, callbacks=[Convert()])


@pytest.mark.parametrize("way", [converted_when_made, converted_by_a_callback])
def test_from_torch_ends_where_the_trainers_own_ends(way, tmp_path):
    theirs, torch_optimizer = train(make_trainer(tmp_path))
    assert type(torch_optimizer) is torch.optim.AdamW
    ours, optimizer = train(way(tmp_path))
    assert type(optimizer) is ironstep.optim.AdamW
    assert_ends_alike(ours, theirs, optimizer)


def test_a_checkpoint_of_torch_goes_on_with_ours(tmp_path):
    half = N_STEPS // 2
    theirs, _ = train(
        make_trainer(tmp_path, arguments=dict(save_strategy="steps", save_steps=half))
    )
    checkpoint = str(tmp_path / f"checkpoint-{half}")
    ours, optimizer = train(converted_when_made(tmp_path), resume_from_checkpoint=checkpoint)
    assert_ends_alike(ours, theirs, optimizer)
