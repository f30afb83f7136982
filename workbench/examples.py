"""The examples at the end of each help."""

from __future__ import annotations

EXAMPLES = {
    "workbench": (
        "workbench models",
        "workbench derive isotropic_truncated_relu --format latex",
        "workbench solve isotropic_truncated_relu --method particles --set d=40 --out dd.nc",
        "mpiexec -n 2 workbench solve anisotropic_truncated_relu --method fokker-planck --set beta=50 --set cells=80 --out fp.nc",
        "workbench sweep isotropic_truncated_relu --method stationary --set lam=0.01 --over beta=50,100,200 --out gibbs",
        "workbench reproduce distribution --scale smoke --out figures",
        "workbench report --figures figures --out report",
    ),
    "models": (
        "workbench models",
        "workbench models --json",
    ),
    "figures": (
        "workbench figures",
        "workbench figures --json",
    ),
    "derive": (
        "workbench derive isotropic_truncated_relu",
        "workbench derive anisotropic_relu --format latex",
        "workbench derive limit --format html",
    ),
    "solve": (
        "workbench solve isotropic_truncated_relu --method particles --set d=inf --set kappa=0.4 --out dd.nc",
        "workbench solve isotropic_relu --method sgd --set N=400 --set epsilon=1e-4 --set b_std=0.1 --out sgd.nc",
        "workbench solve isotropic_truncated_relu --method sgd --set replicas=20 --set workers=2 --out many.nc",
        "workbench solve isotropic_nonmonotone --method landscape --set tau_plus=1.5 --set tau_minus=0.5 --out best.nc",
        "mpiexec -n 2 workbench solve anisotropic_truncated_relu --method fokker-planck --set beta=50 --set cells=80 --out fp.nc",
    ),
    "sweep": (
        "workbench sweep isotropic_truncated_relu --method particles --over kappa=0.2,0.4,0.8 --out scales",
        "workbench sweep isotropic_nonmonotone --method landscape --over d=10,40,inf --over tau_plus=1.2,1.6 --out best",
        "mpiexec -n 3 workbench sweep isotropic_truncated_relu --method sgd --over epsilon=1e-4,1e-5 --out steps",
    ),
    "reproduce": (
        "workbench reproduce distribution --scale smoke --out figures/smoke",
        "workbench reproduce landscape failure --convention variance --out figures/variance",
        "workbench reproduce all --scale paper --workers 2 --out figures/paper",
    ),
    "report": (
        "workbench report --figures figures --out report",
        "workbench report --figures figures/paper --out report --overwrite",
    ),
    "completion": (
        "workbench completion bash >> ~/.bashrc",
        "workbench completion zsh >> ~/.zshrc",
        "workbench completion fish > ~/.config/fish/completions/workbench.fish",
    ),
}


def examples(command: str = "workbench") -> str:
    """The block with the examples of a command, to be printed as it is."""
    return "\n  ".join(("\b\nExamples", *EXAMPLES[command]))
