"""What tests share: servers, made runs and corpora, and processes that tests start and kill."""
