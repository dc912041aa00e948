package service

import "github.com/l3kit/l3kit/l3"

func badRequest(name, format string, args ...any) error {
	return l3.Refuse(l3.ErrInvalid, name, format, args...)
}

func invalid(format string, args ...any) error { return badRequest("InvalidInput", format, args...) }

func forbidden(format string, args ...any) error {
	return l3.Refuse(l3.ErrForbidden, "PolicyNotAuthorized", format, args...)
}

func notFound(name, format string, args ...any) error {
	return l3.Refuse(l3.ErrNotFound, name, format, args...)
}

func conflict(name, format string, args ...any) error {
	return l3.Refuse(l3.ErrConflict, name, format, args...)
}
