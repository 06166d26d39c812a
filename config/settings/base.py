"""What all settings share. Every value that differs between places comes from the environment."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import django_stubs_ext
import environ
from django.templatetags.static import static
from django.urls import reverse_lazy
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

# Lets Django's generic classes be subscripted at run time, as their types are.
django_stubs_ext.monkeypatch()

BASE_DIR: Final = Path(__file__).resolve().parent.parent.parent

env = environ.Env()

DEBUG = False
SECRET_KEY: str = env.str("SECRET_KEY")
# Fernet keys, newest first: the first encrypts, all decrypt.
SECRETS_KEYS: list[str] = env.list("SECRETS_KEYS")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
PUBLIC_URL: str = env.str("PUBLIC_URL", default="http://127.0.0.1:8000")
# How many proxies of ours stand in front: so many last entries of X-Forwarded-For are believed.
TRUSTED_PROXIES: int = env.int("TRUSTED_PROXIES", default=0)
INSTALLATION_ID: str = env.str("INSTALLATION_ID", default="local")
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / ".data")))

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "django_filters",
    "rest_framework_simplejwt.token_blacklist",
    "knox",
    "django_celery_beat",
    "django_structlog",
    "auditlog",
    "crispy_forms",
    "formtools",
    "ledger",
    "accounts",
    "registry",
    "templates_lib",
    "provisioning",
    "sandbox",
    "gateway",
    "factory",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "ledger.requests.AuditMiddleware",
    "accounts.middleware.PasswordChangeMiddleware",
    "accounts.middleware.TimeZoneMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "factory.context_processors.portal",
            ],
        },
    },
]

# --- Data -------------------------------------------------------------------------------------

DATABASES = {"default": env.db_url("DATABASE_URL")}
DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 16, "timeout": 10}}
# A pooled connection may be from before a restart of the server.
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# The database in which each agent gets a role and a schema of its own; a role that may create both.
AGENT_DATABASE_URL: str = env.str("AGENT_DATABASE_URL")

REDIS_URL: str = env.str("REDIS_URL")
# The server in which each agent gets a user and a key prefix of its own; a user that may do ACL.
AGENT_REDIS_URL: str = env.str("AGENT_REDIS_URL", default=REDIS_URL)
# Where agents reach these two, when it is not where the platform does.
AGENT_DATABASE_HOST: str = env.str("AGENT_DATABASE_HOST", default="")
AGENT_REDIS_HOST: str = env.str("AGENT_REDIS_HOST", default="")

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "factory",
    }
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            "hosts": [
                {
                    "address": REDIS_URL,
                    # Unless said so, an idle consumer is cut off after some seconds.
                    "socket_timeout": None,
                    # After a restart of the server each connection that was kept fails once.
                    "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), 3),
                }
            ],
            "prefix": "factory-live",
            "capacity": 1000,
        },
    }
}

# Their own tables are replaced by ours; their migrations would make them all the same.
MIGRATION_MODULES = {"auditlog": None, "knox": None}

# --- Work in the background -------------------------------------------------------------------

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    "global_keyprefix": "factory-queue.",
    # Above the longest step, so that nothing is delivered twice while it is being worked on; the
    # reconciler, not redelivery, takes over from a worker that died.
    "visibility_timeout": 900,
}
CELERY_TASK_TIME_LIMIT = 600
CELERY_TASK_SOFT_TIME_LIMIT = 540
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "reconcile-deployments": {
        "task": "provisioning.tasks.reconcile",
        "schedule": timedelta(seconds=10),
    },
    "reconcile-sandboxes": {"task": "sandbox.tasks.reconcile", "schedule": timedelta(seconds=15)},
    "check-agents": {"task": "provisioning.tasks.check_agents", "schedule": timedelta(seconds=30)},
    **{
        f"delete-old-rows-{room}": {
            "task": f"{room}.tasks.delete_old_rows",
            "schedule": timedelta(hours=6),
        }
        for room in ("ledger", "accounts", "sandbox", "factory")
    },
}

# --- How long rows are kept -------------------------------------------------------------------

# In days, at least one. The audit trail and the changes of status are kept for good.
KEEP_PROGRESS_DAYS: int = max(1, env.int("KEEP_PROGRESS_DAYS", default=30))
KEEP_SANDBOX_TESTS_DAYS: int = max(1, env.int("KEEP_SANDBOX_TESTS_DAYS", default=90))
KEEP_IDEMPOTENCY_KEYS_DAYS: int = max(1, env.int("KEEP_IDEMPOTENCY_KEYS_DAYS", default=7))
KEEP_EXPIRED_TOKENS_DAYS: int = max(1, env.int("KEEP_EXPIRED_TOKENS_DAYS", default=30))

# --- Running agents ---------------------------------------------------------------------------

RUNTIME_DRIVER: str = env.str("RUNTIME_DRIVER", default="docker")
EGRESS_PORT: int = env.int("EGRESS_PORT", default=8001)
# Whether an agent's tools may be on private addresses, as a model server beside the platform is.
EGRESS_ALLOW_PRIVATE: bool = env.bool("EGRESS_ALLOW_PRIVATE", default=False)

# --- Accounts ---------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"

# --- API --------------------------------------------------------------------------------------

DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
API_MAX_BODY_BYTES = 1_048_576

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.AccessTokenAuthentication",
        "accounts.api.authentication.ApiTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.HasAction"],
    "DEFAULT_PARSER_CLASSES": ["accounts.api.parsers.BoundedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "accounts.api.pagination.CreatedCursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "EXCEPTION_HANDLER": "accounts.api.problems.exception_handler",
    "PAGE_SIZE": 50,
    "NUM_PROXIES": TRUSTED_PROXIES,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_FORMATTER_CLASS": "accounts.api.problems.ProblemFormatter",
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "AUTH_HEADER_TYPES": ("Bearer",),
    # A new password ends what was given out for the old one.
    "CHECK_REVOKE_TOKEN": True,
}
KNOX_TOKEN_MODEL = "accounts.ApiToken"  # noqa: S105 - the name of a model
REST_KNOX = {
    "TOKEN_TTL": timedelta(days=365),
    "AUTH_HEADER_PREFIX": "Token",
    "AUTO_REFRESH": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Agent Factory",
    "DESCRIPTION": "Make, test, deploy, call and govern AI agents.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "AgentStatusEnum": "registry.enums.AgentStatus",
        "StepStatusEnum": "provisioning.enums.StepStatus",
        "ProvisioningStatusEnum": "provisioning.api.serializers.PROVISIONING_STATUSES",
        "VerdictEnum": "sandbox.enums.Verdict",
        "SandboxStatusEnum": "sandbox.api.serializers.SANDBOX_STATUSES",
    },
}

# --- Audit ------------------------------------------------------------------------------------

AUDITLOG_LOGENTRY_MODEL = "ledger.AuditEntry"
AUDITLOG_CID_GETTER = "ledger.requests.correlation_id"
AUDITLOG_INCLUDE_TRACKING_MODELS: tuple[Any, ...] = (
    {
        "model": "accounts.User",
        "exclude_fields": ["last_login"],
        "mask_fields": ["password"],
    },
    "accounts.Organization",
    "accounts.Membership",
    {
        "model": "registry.Agent",
        "exclude_fields": ["health", "health_detail", "health_checked_at", "updated_at"],
    },
    "registry.Tool",
    {"model": "registry.Secret", "exclude_fields": ["ciphertext"]},
    "templates_lib.AgentTemplate",
    {"model": "templates_lib.TemplateVersion", "exclude_fields": ["files"]},
    "factory.Tier",
    "factory.PriceBook",
    "factory.TierPrice",
    {"model": "factory.Blueprint", "exclude_fields": ["wizard_state", "updated_at"]},
)

# --- Pages ------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]
STATIC_URL = "static/"
# Served straight from where they lie; production collects them instead.
SERVESTATIC_USE_FINDERS = True
STATICFILES_DIRS = [BASE_DIR / "static"]
CRISPY_TEMPLATE_PACK = "unfold_crispy"
CRISPY_ALLOWED_TEMPLATE_PACKS = ["unfold_crispy"]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Agent Factory",
    "SITE_HEADER": "Agent Factory",
    "SITE_SYMBOL": "smart_toy",
    "SITE_URL": reverse_lazy("home"),
    "SHOW_HISTORY": True,
    "LOGIN": {"form": "accounts.forms.AdminSignInForm"},
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": "factory.admin_index.sidebar",
    },
    "DASHBOARD_CALLBACK": "factory.admin_index.group_models",
    "SCRIPTS": [lambda request: static("factory/theme.js")],  # noqa: ARG005 - the theme's own signature
    "STYLES": [lambda request: static("factory/portal.css")],  # noqa: ARG005 - the theme's own signature
}

# --- Logs -------------------------------------------------------------------------------------

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "config.logs.formatter"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    # It logs whole addresses, in whose queries stands what was asked.
    "loggers": {"httpx": {"level": "WARNING"}},
}
