pytest_plugins = ["sshd_fixture"]
