"""The library for programs. Anybody may read it; nothing in it belongs to an organisation."""

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.documentation import answers
from templates_lib.api.serializers import (
    TemplateDetailSerializer,
    TemplateFilterSerializer,
    TemplateListSerializer,
)
from templates_lib.api.shapes import template_detail, template_summary
from templates_lib.catalogue import TemplateFilter, find_templates, usage_counts
from templates_lib.services import definition_of, shown_version


class _PublicView(APIView):
    permission_classes = (AllowAny,)
    # A token that ran out must not keep anybody from reading what is public.
    authentication_classes = ()


class TemplateListView(_PublicView):
    """The templates that agents can be made from."""

    @extend_schema(
        operation_id="templates_list",
        parameters=[TemplateFilterSerializer],
        responses=answers(200, TemplateListSerializer, body=False, public=True),
        tags=["templates"],
        auth=[],
    )
    def get(self, request: Request) -> Response:
        """List the published templates, narrowed by what is asked for."""
        serializer = TemplateFilterSerializer(data=request.query_params.dict())
        serializer.is_valid(raise_exception=True)
        found = find_templates(TemplateFilter(**serializer.validated_data))
        counts = usage_counts()
        return Response(
            {
                "templates": [
                    template_summary(
                        version, definition, usage_count=counts.get(definition.slug, 0)
                    )
                    for version, definition in found
                ]
            }
        )


class TemplateDetailView(_PublicView):
    """One template."""

    @extend_schema(
        operation_id="templates_retrieve",
        responses=answers(200, TemplateDetailSerializer, body=False, public=True),
        tags=["templates"],
        auth=[],
    )
    def get(self, request: Request, template_id: str) -> Response:
        """Return a template with its capabilities, scenarios, advice and changes."""
        version = shown_version(template_id)
        definition = definition_of(version)
        count = usage_counts(definition.slug).get(definition.slug, 0)
        return Response(template_detail(version, definition, usage_count=count))
