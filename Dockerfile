# The image of web server, workers, beat, Flower and mail catcher. compose.yaml starts them.

# The page's progress bar, which npm checks against the integrity hash in the lockfile.
FROM node:20-slim AS nanobar
WORKDIR /nanobar
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM python:3.11-slim
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /longtask

# Before the code, so that a change of the code does not reinstall the requirements.
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

# The code belongs to root, so that the processes can write only to instance/.
RUN useradd --uid 10001 --no-create-home longtask && install --directory --mode=700 --owner=longtask instance
COPY . .
COPY --from=nanobar /nanobar/node_modules/nanobar/nanobar.min.js static/vendor/
USER 10001

EXPOSE 5000
CMD ["gunicorn", "--bind", "0.0.0.0:5000", "app:app"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:5000/health', timeout=4)"]
