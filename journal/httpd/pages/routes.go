package pages

import (
	"slices"

	"copialettere/policy/archive"
)

// Audience is for whom a page is.
type Audience int

// The audiences.
const (
	Anybody  Audience = iota // who has not signed in too
	SignedIn                 // whoever has
	Unready                  // SignedIn, and also who must first turn a second factor on
	// OfMailbox is who has Route.Right in the mailbox of the path.
	OfMailbox
	// OfDomain are the postmasters of the domain of the path, and operators. If the path has a mailbox too, it is of that domain, and they have
	// Route.Right in it.
	OfDomain
)

// Route is one page, or one thing to be done from a page.
type Route struct {
	Pattern string // as of http.ServeMux: GET changes nothing, POST does
	For     Audience
	Right   archive.Right // in the mailbox of the path; empty where it has none

	serve func(*visit) error
	slow  bool  // the answer takes as long as the browser takes to read it, and its turn (Pages.turns) ends when it begins
	form  int64 // how much of the body of its form is read, in bytes; 0 means maxForm
}

// Routes returns the table of all pages.
func Routes() []Route {
	return slices.Concat(
		signInRoutes(),
		accessRoutes(),
		domainRoutes(),
		domainMailboxRoutes(),
		domainLogRoutes(),
		healthRoutes(),
		homeRoutes(),
		settingsRoutes(),
		accountRoutes(),
		delegatesRoutes(),
		pullRoutes(),
		programsRoutes(),
		termsRoutes(),
		logRoutes(),
		messageRoutes(),
		evidenceRoutes(),
		practiceRoutes(),
		listRoutes(),
		actRoutes(),
		giveBackRoutes(),
		deletedRoutes(),
		importRoutes(),
		gapRoutes(),
		zipRoutes(),
		exportRoutes(),
	)
}
