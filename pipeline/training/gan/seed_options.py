"""The seed project's option files, ``train_gfpgan_v1.yml`` and ``train_gfpgan_v1_simple.yml``, in photomend's words.

Source of the keys and of what they mean: https://github.com/TencentARC/GFPGAN (options, gfpgan/models, gfpgan/data)
and https://github.com/XPixelGroup/BasicSR (docs/Config.md). A key that is not here is refused by name, as is a value
that asks for what this trainer does not do; what is read and makes no difference is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.training.errors import WrongOptions
from pipeline.training.gan import options
from pipeline.training.gan.options import Count, Positive, Range, Section, Share, Side, Weight

#: Where the seed project looks for VGG-19. Source: basicsr/archs/vgg_arch.py.
VGG_PATH = Path("experiments/pretrained_models/vgg19-dcbb9e9d.pth")

#: Its networks' names for ours.
ARCHITECTURES = {
    "GFPGANv1": "gfpgan-original",
    "GFPGANBilinear": "gfpgan-bilinear",
    "GFPGANv1Clean": "gfpgan-clean",
}

_Half = Annotated[float, Field(ge=0.5, le=0.5)]
#: Mean and deviation that bring [0, 1] to [-1, 1], which is what networks are given here.
Half = tuple[_Half, _Half, _Half]
One = Annotated[float, Field(ge=1, le=1)]
Zero = Annotated[float, Field(ge=0, le=0)]
#: Written as !!float in the files.
Steps = Annotated[float, Field(ge=1, multiple_of=1)]


class _Backend(Section):
    type: Literal["disk", "lmdb"]


class _TrainData(Section):
    name: str = ""
    type: Literal["FFHQDegradationDataset"]
    dataroot_gt: Path
    io_backend: _Backend
    use_hflip: bool = False
    mean: Half
    std: Half
    out_size: Side
    blur_kernel_size: int
    kernel_list: list[Literal["iso", "aniso"]]
    kernel_prob: list[Share]
    blur_sigma: Range
    downsample_range: Range
    noise_range: Range | None = None
    jpeg_range: Range | None = None
    color_jitter_prob: Share | None = None
    color_jitter_shift: Weight = 20
    color_jitter_pt_prob: Share | None = None
    brightness: Range | None = (0.5, 1.5)
    contrast: Range | None = (0.5, 1.5)
    saturation: Range | None = (0, 1.5)
    hue: Range | None = (-0.1, 0.1)
    gray_prob: Share | None = None
    gt_gray: bool = False
    crop_components: bool = False
    component_path: Path | None = None
    eye_enlarge_ratio: Positive = 1
    use_shuffle: Literal[True] = True
    num_worker_per_gpu: Annotated[int, Field(ge=0)] = 0
    batch_size_per_gpu: Count
    dataset_enlarge_ratio: Count = 1
    prefetch_mode: Literal["cpu", "cuda"] | None = None
    num_prefetch_queue: Count = 1
    pin_memory: bool = True
    phase: Literal["train"] = "train"


class _ValData(Section):
    name: str = ""
    type: Literal["PairedImageDataset"]
    dataroot_lq: Path
    dataroot_gt: Path
    io_backend: _Backend
    mean: Half
    std: Half
    scale: Literal[1] = 1
    phase: Literal["val"] = "val"


class _Datasets(Section):
    train: _TrainData
    val: _ValData | None = None


class _NetworkG(Section):
    type: Literal["GFPGANv1", "GFPGANBilinear", "GFPGANv1Clean"]
    out_size: Side
    num_style_feat: Count = 512
    channel_multiplier: Count = 1
    resample_kernel: tuple[Literal[1], Literal[3], Literal[3], Literal[1]] = (1, 3, 3, 1)
    decoder_load_path: Path | None = None
    fix_decoder: bool = True
    num_mlp: Literal[8] = 8
    lr_mlp: Annotated[float, Field(ge=0.01, le=0.01)] = 0.01
    input_is_latent: Literal[True] = True
    different_w: Literal[True] = True
    narrow: Positive = 1
    sft_half: Literal[True] = True


class _NetworkD(Section):
    type: Literal["StyleGAN2Discriminator"]
    out_size: Side
    channel_multiplier: Count = 2
    resample_kernel: tuple[Literal[1], Literal[3], Literal[3], Literal[1]] = (1, 3, 3, 1)
    stddev_group: Count = 4
    narrow: Positive = 1


class _ComponentD(Section):
    type: Literal["FacialComponentDiscriminator"]


class _NetworkIdentity(Section):
    type: Literal["ResNetArcFace"]
    block: Literal["IRBlock"] = "IRBlock"
    layers: tuple[Literal[2], Literal[2], Literal[2], Literal[2]] = (2, 2, 2, 2)
    use_se: Literal[False] = False


class _Paths(Section):
    pretrain_network_g: Path | None = None
    param_key_g: Literal["params_ema"] | None = None
    strict_load_g: Literal[True] | None = None
    pretrain_network_d: Path | None = None
    strict_load_d: Literal[True] | None = None
    pretrain_network_d_left_eye: Path | None = None
    pretrain_network_d_right_eye: Path | None = None
    pretrain_network_d_mouth: Path | None = None
    pretrain_network_identity: Path | None = None
    resume_state: None = None
    ignore_resume_networks: tuple[str, ...] = ()


class _Optimiser(Section):
    type: Literal["Adam"]
    lr: Positive


class _Scheduler(Section):
    type: Literal["MultiStepLR", "MultiStepRestartLR", "CosineAnnealingRestartLR"]
    milestones: tuple[int, ...] = ()
    gamma: Positive = 0.1
    restarts: tuple[int, ...] = ()
    periods: tuple[Count, ...] = ()
    restart_weights: tuple[Weight, ...] = ()
    eta_min: Weight = 0


class _L1(Section):
    type: Literal["L1Loss"]
    loss_weight: Weight = 1
    reduction: Literal["mean"] = "mean"


class _Perceptual(Section):
    type: Literal["PerceptualLoss"]
    layer_weights: dict[str, Weight]
    vgg_type: Literal["vgg19"] = "vgg19"
    use_input_norm: Literal[True] = True
    perceptual_weight: Weight = 1
    style_weight: Weight = 0
    range_norm: Literal[True]
    criterion: Literal["l1"] = "l1"


class _Gan(Section):
    type: Literal["GANLoss"]
    #: "vanilla" with labels 1 and 0 is the same sum as "wgan_softplus".
    gan_type: Literal["wgan_softplus", "vanilla"]
    real_label_val: One = 1
    fake_label_val: Zero = 0
    loss_weight: Weight = 1


class _Train(Section):
    optim_g: _Optimiser
    optim_d: _Optimiser
    optim_component: _Optimiser | None = None
    scheduler: _Scheduler
    total_iter: Steps
    warmup_iter: int = -1
    pixel_opt: _L1 | None = None
    L1_opt: _L1
    pyramid_loss_weight: Weight = 0
    remove_pyramid_loss: float | None = None
    perceptual_opt: _Perceptual | None = None
    gan_opt: _Gan
    r1_reg_weight: Weight
    gan_component_opt: _Gan | None = None
    comp_style_weight: Weight = 0
    identity_weight: Weight | None = None
    net_d_iters: Literal[1] = 1
    net_d_init_iters: Literal[0] = 0
    net_d_reg_every: Count


class _Metric(Section):
    type: Literal["calculate_psnr", "calculate_ssim"]
    crop_border: Literal[0] = 0
    test_y_channel: Literal[False] = False
    better: Literal["higher"] = "higher"


class _Val(Section):
    val_freq: Steps
    save_img: bool = True
    pbar: bool = False
    metrics: dict[str, _Metric] = Field(default_factory=dict)


class _Wandb(Section):
    project: None = None
    resume_id: None = None


class _Logger(Section):
    print_freq: Count = 100
    save_checkpoint_freq: Steps = 5e3
    use_tb_logger: bool = False
    wandb: _Wandb = _Wandb()


class _Distributed(Section):
    backend: Literal["nccl", "gloo"] = "nccl"
    port: int | None = None


class _File(Section):
    name: str
    model_type: Literal["GFPGANModel"]
    num_gpu: int | Literal["auto"] = "auto"
    manual_seed: Annotated[int, Field(ge=0)] = 0
    datasets: _Datasets
    network_g: _NetworkG
    network_d: _NetworkD
    network_d_left_eye: _ComponentD | None = None
    network_d_right_eye: _ComponentD | None = None
    network_d_mouth: _ComponentD | None = None
    network_identity: _NetworkIdentity | None = None
    path: _Paths = _Paths()
    train: _Train
    val: _Val | None = None
    logger: _Logger = _Logger()
    dist_params: _Distributed = _Distributed()
    find_unused_parameters: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """A seed project's file as a run."""

    run: options.RestorerRun
    notes: tuple[str, ...]  #: what was read and makes no difference here, or is off


def read(path: Path, *, processes: int) -> Translated:
    """The run that a file of the seed project's asks for, on so many GPUs (it counts pictures for each).

    Raises:
        WrongOptions: it cannot be read, has unknown keys, or asks for what this trainer does not do.
    """
    try:
        import yaml  # noqa: PLC0415  (of the extra "train"; photomend's own files do without)
    except ImportError as err:
        raise WrongOptions(f"{path} is YAML, for which PyYAML is needed: pip install 'photomend[train]'") from err
    file = options.checked(_File, options.load(path, yaml.safe_load, yaml.YAMLError), path)
    run = options.checked(options.RestorerRun, _run(file, processes), path)
    return Translated(run=run, notes=tuple(_notes(file)))


def _run(file: _File, processes: int) -> dict[str, Any]:
    train, data = file.train, file.datasets.train
    every = file.val.val_freq if file.val else file.logger.save_checkpoint_freq
    return {
        "name": file.name,
        "seed": file.manual_seed,
        "steps": int(train.total_iter),
        "batch": data.batch_size_per_gpu * processes,
        "tensorboard": file.logger.use_tb_logger and _has_tensorboard(),
        "data": _data(file),
        "degradation": _degradation(data),
        "generator": _generator(file),
        "discriminator": {
            "narrow": file.network_d.narrow,
            "multiplier": file.network_d.channel_multiplier,
            "group": file.network_d.stddev_group,
            "start": file.path.pretrain_network_d,
        },
        "components": _components(file),
        "losses": _losses(file),
        "rates": _rates(train),
        "every": {
            "curves": file.logger.print_freq,
            "checkpoint": int(file.logger.save_checkpoint_freq),
            "samples": int(every),
        },
        "validation": file.datasets.val
        and {"degraded": file.datasets.val.dataroot_lq, "originals": file.datasets.val.dataroot_gt},
    }


def _data(file: _File) -> dict[str, Any]:
    data = file.datasets.train
    return {
        "pictures": data.dataroot_gt,
        "size": data.out_size,
        "landmarks": data.component_path if data.crop_components else None,
        "enlarge_eyes": data.eye_enlarge_ratio,
        "mirror": data.use_hflip,
        "workers": data.num_worker_per_gpu,
    }


def _degradation(data: _TrainData) -> dict[str, Any]:
    shares = dict(zip(data.kernel_list, data.kernel_prob, strict=False))
    return {
        "kernel_px": data.blur_kernel_size,
        "isotropic": shares.get("iso", 0) / (sum(shares.values()) or 1),
        "blur_sigma": data.blur_sigma,
        "down": data.downsample_range,
        "noise_sigma": data.noise_range,
        "jpeg_quality": data.jpeg_range,
        "shift": data.color_jitter_prob or 0,
        "shift_levels": data.color_jitter_shift,
        "tone": data.color_jitter_pt_prob or 0,
        "brightness": data.brightness,
        "contrast": data.contrast,
        "saturation": data.saturation,
        "hue": data.hue,
        "gray": data.gray_prob or 0,
        "gray_targets": data.gt_gray,
    }


def _generator(file: _File) -> dict[str, Any]:
    network = file.network_g
    start = file.path.pretrain_network_g
    return {
        "architecture": ARCHITECTURES[network.type],
        "style": network.num_style_feat,
        "narrow": network.narrow,
        "multiplier": network.channel_multiplier,
        # What is gone on from has its prior in it.
        "prior": None if start else network.decoder_load_path,
        "train_prior": not network.fix_decoder,
        "start": start,
    }


def _components(file: _File) -> dict[str, Any] | None:
    if not (file.network_d_left_eye and file.network_d_right_eye and file.network_d_mouth):
        return None
    return {
        "weight": file.train.gan_component_opt.loss_weight if file.train.gan_component_opt else 1,
        "style_weight": file.train.comp_style_weight * file.train.L1_opt.loss_weight,
        "left_eye": file.path.pretrain_network_d_left_eye,
        "right_eye": file.path.pretrain_network_d_right_eye,
        "mouth": file.path.pretrain_network_d_mouth,
    }


def _losses(file: _File) -> dict[str, Any]:
    train, l1 = file.train, file.train.L1_opt.loss_weight
    seen = train.perceptual_opt
    known = file.path.pretrain_network_identity if file.network_identity else None
    return {
        "pixels": train.pixel_opt.loss_weight if train.pixel_opt else 0,
        "pyramid": train.pyramid_loss_weight * l1,
        "pyramid_steps": None if train.remove_pyramid_loss is None else int(train.remove_pyramid_loss),
        "adversarial": train.gan_opt.loss_weight,
        "r1": train.r1_reg_weight,
        "r1_every": train.net_d_reg_every,
        "perceptual": seen
        and {
            "weights": VGG_PATH,
            "layers": seen.layer_weights,
            "weight": seen.perceptual_weight,
            "style_weight": seen.style_weight,
        },
        "identity": known and {"weights": known, "weight": (train.identity_weight or 0) * l1},
    }


def _rates(train: _Train) -> dict[str, Any]:
    plan = train.scheduler
    cosine = plan.type == "CosineAnnealingRestartLR"
    return {
        "generator": train.optim_g.lr,
        "discriminator": train.optim_d.lr,
        "components": (train.optim_component or train.optim_g).lr,
        "warmup": max(0, train.warmup_iter),
        "milestones": () if cosine else plan.milestones,
        "gamma": plan.gamma,
        "periods": plan.periods if cosine else (),
        "least": plan.eta_min,
        "restarts": () if cosine else plan.restarts,
        "restart_weights": plan.restart_weights,
    }


def _notes(file: _File) -> Iterator[str]:
    if file.network_identity and not file.path.pretrain_network_identity:
        yield "network_identity has no pretrain_network_identity: the identity loss is off (a random one means nothing)"
    if file.logger.use_tb_logger and not _has_tensorboard():
        yield "use_tb_logger: tensorboard is not installed; the curves are in curves.csv"
    if file.datasets.train.prefetch_mode:
        yield "prefetch_mode makes no difference: batches are prepared ahead always"
    if file.datasets.train.dataset_enlarge_ratio > 1:
        yield "dataset_enlarge_ratio makes no difference: one epoch follows the other without a pause"
    if isinstance(file.num_gpu, int):
        yield f"num_gpu ({file.num_gpu}) makes no difference: torchrun says how many processes there are"
    if file.path.pretrain_network_g and file.network_g.decoder_load_path:
        yield "decoder_load_path is not read: pretrain_network_g has the decoder in it"


def _has_tensorboard() -> bool:
    return util.find_spec("tensorboard") is not None


def described(path: Path) -> bool:
    """Whether the file is the seed project's kind, by its name."""
    if path.suffix in {".yml", ".yaml"}:
        return True
    if path.suffix == ".toml":
        return False
    raise WrongOptions(f"{path} is neither photomend's own options (.toml) nor the seed project's (.yml)")
