# docker build -t biomtl . ; docker run --rm -v "$PWD:/work" biomtl check notes.yaml
FROM python:3.11-slim

WORKDIR /opt/biomtl
COPY constraints.txt ./
# The largest part, which changes only with its pin.
RUN grep '^torch==' constraints.txt | xargs pip install --no-cache-dir -c constraints.txt
COPY pyproject.toml setup.cfg setup.py README.md LICENSE ./
COPY mtl mtl
COPY heads heads
COPY experiments/encoders experiments/encoders
COPY experiments/suites experiments/suites
COPY experiments/tasks experiments/tasks
RUN pip install --no-cache-dir -c constraints.txt ".[demo]"

# A user without privileges. With `docker run --user` it is another one, so the home is a folder that anyone may write.
RUN useradd --no-create-home mtl
ENV HOME=/tmp
USER mtl
WORKDIR /work
ENTRYPOINT ["mtl"]
