"""The base class of a vehicle's nodes: parameters, checked whenever they are set."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.ros.logs import log_printably
from yolox_trt_ros.ros.parameters import (
    check_values,
    declare_all,
    declare_given,
    read_parameters,
    resting,
    typed,
    value_of,
)
from yolox_trt_ros.vehicle_files import is_own, keyed_for_others


class VehicleNode:
    """Comes before rclpy's own class among the bases of a node that reads a vehicle file.

    Whatever is set, by service or by :meth:`set_parameters`: ``get_parameters`` shows what runs, a
    value that the node has already is no change, and no error ends the node.

    Args:
        name: of the node.
        options: passed on to rclpy, such as ``parameter_overrides``.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.parameter_lock = threading.RLock()
        """Held while parameters change, and by who takes apart what they work on."""
        self._settling = True
        # Names that nobody knows are to be refused, not silently ignored.
        super().__init__(  # type: ignore[call-arg]
            name,
            allow_undeclared_parameters=True,
            **options,
        )
        node: Any = self
        log_printably(node)
        declare_given(node)
        self._settling = False
        node.add_on_set_parameters_callback(self._may_be_set)
        for service in node.services:
            if service.srv_type is SetParameters:
                service.callback = self._answer_set
            elif service.srv_type is SetParametersAtomically:
                service.callback = self._answer_set_atomically

    # -- for the nodes -------------------------------------------------------------------------

    def settle(self) -> Config:
        """Declare all parameters and return the configuration that they make.

        Raises:
            ConfigError: see :meth:`Config.from_parameters`.
        """
        node: Any = self
        with self.parameter_lock:
            self._settling = True
            try:
                config = declare_all(node)
            except ConfigError as error:
                elsewhere = keyed_for_others(sys.argv, node.get_fully_qualified_name())
                if elsewhere and not read_parameters(node):
                    raise ConfigError(f'{error}\n{elsewhere}') from error
                raise
            finally:
                self._settling = False
        if idle := ', '.join(resting(read_parameters(node), config)):
            node.get_logger().info(f'in the parameter file but not used: {idle}')
        return config

    def may_change(self, changed: dict[str, Any]) -> None:
        """Refuse what may not change now; by default everything, for it is read at the start.

        Args:
            changed: new values by name, wrong ones and those that change nothing left out.

        Raises:
            ConfigError: one of them may not change.
        """
        node: Any = self
        names = ', '.join(changed)
        raise ConfigError(f'{node.get_name()} reads {names} only at its start: restart it')

    def follow_parameters(self) -> None:
        """Make what runs follow the parameters, which have changed; by default nothing does."""

    # -- setting -------------------------------------------------------------------------------

    def set_parameters(self, parameter_list: Sequence[Parameter[Any]]) -> list[SetParametersResult]:
        """Set parameters one by one; see :meth:`set_parameters_atomically`."""
        return [self.set_parameters_atomically([p]) for p in parameter_list]

    def set_parameters_atomically(
        self, parameter_list: Sequence[Parameter[Any]]
    ) -> SetParametersResult:
        """Set parameters, all or none; what is wrong with them is in the answer."""
        node: Any = self
        with self.parameter_lock:
            before = [node.get_parameter_or(p.name) for p in parameter_list]
            try:
                wanted = [p for p in map(typed, parameter_list) if not self._has(p)]
                if parameter_list and not wanted:
                    return SetParametersResult(successful=True)
                result = super().set_parameters_atomically(wanted)  # type: ignore[misc]
                if result.successful:
                    self.follow_parameters()
                answer: SetParametersResult = result
                return answer
            except Exception as error:
                reason = f'{type(error).__name__}: {one_line(error)}'
                node.get_logger().error(f'parameters were not set: {reason}')
                self._take_back(before)
                return SetParametersResult(successful=False, reason=reason)

    def _has(self, parameter: Parameter[Any]) -> bool:
        """Return whether a parameter has this value: a read-only one may be set to it, too."""
        node: Any = self
        present = node.get_parameter_or(parameter.name)
        declared = present.type_ != Parameter.Type.NOT_SET
        same = declared and present.type_ == parameter.type_
        return bool(same and value_of(present) == value_of(parameter))

    def _take_back(self, before: list[Parameter[Any]]) -> None:
        """Restore parameters that what runs could not follow."""
        node: Any = self
        self._settling = True
        try:
            for parameter in before:
                super().set_parameters_atomically([parameter])  # type: ignore[misc]
            self.follow_parameters()
        except Exception as error:
            node.get_logger().error(f'parameters were not restored: {error!r}')
        finally:
            self._settling = False

    def _may_be_set(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        """Return whether parameters may be set; rclpy has seen to declared types and ranges."""
        if self._settling:
            return SetParametersResult(successful=True)
        node: Any = self
        values = {p.name: value_of(p) for p in parameters if is_own(p.name)}
        try:
            changed = check_values(read_parameters(node), values)
            if changed:
                self.may_change(changed)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    # -- services ------------------------------------------------------------------------------

    def _answer_set(
        self, request: SetParameters.Request, response: SetParameters.Response
    ) -> SetParameters.Response:
        response.results = [self._set_messages([message]) for message in request.parameters]
        return response

    def _answer_set_atomically(
        self, request: SetParametersAtomically.Request, response: SetParametersAtomically.Response
    ) -> SetParametersAtomically.Response:
        response.result = self._set_messages(list(request.parameters))
        return response

    def _set_messages(self, messages: list[ParameterMessage]) -> SetParametersResult:
        """Set parameters as a service was asked to; rclpy itself raises on an unknown type."""
        parameters = []
        for message in messages:
            try:
                parameters.append(Parameter.from_parameter_msg(message))
            except (ValueError, TypeError) as error:
                name = one_line(message.name[:80])
                reason = f'{name}: type {message.value.type} of its value: {error}'
                node: Any = self
                node.get_logger().warning(f'a parameter was not set: {reason}')
                return SetParametersResult(successful=False, reason=reason)
        return self.set_parameters_atomically(parameters)
