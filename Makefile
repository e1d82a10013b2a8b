# Everything runs in .venv, which is made here and made anew only when the dependencies change.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# One thread a worker: two workers of one thread finish more runs than one worker of two.
export OMP_NUM_THREADS ?= 1

.PHONY: help install book site lint test lab paper figures clean

help:
	@echo "make book     install, train every model of the book at quick size, execute the chapters (build/)"
	@echo "make book DATASET=data/lab  the same on recordings of your own (docs/own_recordings.md)"
	@echo "make site     the executed chapters and the documentation as one site, to be read offline (build/site/html)"
	@echo "make lint     ruff, mypy on fixlib, and that a file imports only what stands below it"
	@echo "make test     install, lint, unit tests, repeat recorded smoke runs, pytest --nbval on the committed chapters"
	@echo "make lab      open the book in JupyterLab"
	@echo "make paper    the runs at the mission's full configuration (about a day on 2 cores; resumes)"
	@echo "make figures  rebuild figures/ from results/"
	@echo "make clean    remove build/ (not .venv, data/ or results/)"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv: about 1.9 GB, a minute or more. pip says nothing while it works."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[book,scale,test,site,dev]'
	touch $@

# DATASET=data/lab: on recordings of your own, see docs/own_recordings.md
book: $(INSTALLED)
	@$(BIN)/fixlib book --results build/results $(if $(DATASET),-p dataset=$(DATASET))

site: $(INSTALLED)
	@$(BIN)/python docs/make_site.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 tests
	$(BIN)/fixlib verify --all --profile smoke --dataset simulated
	$(BIN)/python -m pytest -n 2 --dist loadscope --nbval --nbval-current-env --nbval-cell-timeout=300 notebooks

# From the root: JupyterLab shows no file above the folder it is started in, and chapter 0 shows one of figures/.
lab: $(INSTALLED)
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

LOSSES := dice,mse,softmax_cross_entropy,focal,composite,dice_smooth_1,weighted_mse,sparsity,concentration

paper: $(INSTALLED)
	$(BIN)/fixlib run loss_comparison --profile paper --seeds 0-2 --losses $(LOSSES)
	$(BIN)/fixlib run hybrid_regression --profile paper --seeds 0-2

figures: $(INSTALLED)
	$(BIN)/fixlib figures

clean:
	rm -rf build
