package service

import (
	"fmt"
	"net/http"

	"github.com/l3kit/l3kit/l3"
)

func refuse(status int, name, format string, args ...any) error {
	return &l3.Error{Name: name, Status: status, Message: fmt.Sprintf(format, args...)}
}

func badRequest(name, format string, args ...any) error {
	return refuse(http.StatusBadRequest, name, format, args...)
}

func invalid(format string, args ...any) error { return badRequest("InvalidInput", format, args...) }

func forbidden(format string, args ...any) error {
	return refuse(http.StatusForbidden, "PolicyNotAuthorized", format, args...)
}

func notFound(name, format string, args ...any) error {
	return refuse(http.StatusNotFound, name, format, args...)
}

func conflict(name, format string, args ...any) error {
	return refuse(http.StatusConflict, name, format, args...)
}
