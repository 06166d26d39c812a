"""Routes of the account pages."""

from django.urls import path

from accounts import views

urlpatterns = [
    path("sign-in", views.SignInView.as_view(), name="sign-in"),
    path("sign-out", views.SignOutView.as_view(), name="sign-out"),
    path("account", views.AccountView.as_view(), name="account"),
    path("account/password", views.PasswordChangeView.as_view(), name="password-change"),
    path("account/tokens", views.ApiTokenCreateView.as_view(), name="account-token-create"),
    path(
        "account/tokens/<str:token_key>/revoke",
        views.ApiTokenRevokeView.as_view(),
        name="account-token-revoke",
    ),
    path(
        "account/organization",
        views.OrganizationSwitchView.as_view(),
        name="switch-organization",
    ),
]
